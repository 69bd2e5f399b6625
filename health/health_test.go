package health_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/broker"
	"github.com/duplex-go/duplex/duplextest"
	"github.com/duplex-go/duplex/health"
	"github.com/duplex-go/duplex/producer"
)

// part is a component with a status that a test chooses.
type part duplex.Status

func (p part) Status() duplex.Status { return duplex.Status(p) }

func Example() {
	// A program hands over its producers and consumers.
	outbox := part{Component: "producer", Code: duplex.StatusOK}
	boards := part{
		Component: "consumer", Name: "boards", Code: duplex.StatusJoining,
		Problems: []duplex.Problem{{Code: duplex.StatusJoining, Detail: "not a member of the group yet"}},
	}
	mux := http.NewServeMux()
	mux.Handle("/readyz", health.Handler(outbox, boards))

	answer := httptest.NewRecorder()
	mux.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/readyz", http.NoBody))
	fmt.Println(answer.Code)
	fmt.Println(answer.Body)
	// Output:
	// 503
	// {"healthy":false,"parts":[{"component":"producer","code":"ok"},{"component":"consumer","name":"boards","code":"joining","problems":[{"code":"joining","detail":"not a member of the group yet"}]}]}
}

func ask(t *testing.T, method string, h http.Handler) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, "/readyz", http.NoBody))
	return w
}

func TestHealthyAndNot(t *testing.T) {
	t.Parallel()
	ok, retrying := part{Code: duplex.StatusOK}, part{Code: duplex.StatusRetrying}
	fenced, unset := part{Code: duplex.StatusFenced}, part{}
	for _, c := range []struct {
		name  string
		first part
		rest  part
		want  int
	}{
		{"both well", ok, ok, http.StatusOK},
		{"a record that is tried again keeps nobody from the rest", ok, retrying, http.StatusOK},
		{"the last one ill", ok, fenced, http.StatusServiceUnavailable},
		{"the first one ill", fenced, ok, http.StatusServiceUnavailable},
		{"a status that nobody filled", unset, ok, http.StatusServiceUnavailable},
	} {
		w := ask(t, http.MethodGet, health.Handler(c.first, c.rest))
		require.Equal(t, c.want, w.Code, c.name)
		var body struct {
			Healthy bool
			Parts   []duplex.Status
		}
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &body))
		require.Equal(t, c.want == http.StatusOK, body.Healthy)
		require.Equal(t, []duplex.Status{duplex.Status(c.first), duplex.Status(c.rest)}, body.Parts, "the reasons, either way")
	}
}

func TestWithoutParts(t *testing.T) {
	t.Parallel()
	w := ask(t, http.MethodGet, health.Handler())
	require.Equal(t, http.StatusOK, w.Code)
	require.JSONEq(t, `{"healthy":true,"parts":[]}`, w.Body.String())
}

func TestMethodsAndHeaders(t *testing.T) {
	t.Parallel()
	for _, code := range []duplex.StatusCode{duplex.StatusOK, duplex.StatusClosed} {
		h := health.Handler(part{Code: code})
		get, head := ask(t, http.MethodGet, h), ask(t, http.MethodHead, h)
		require.Equal(t, get.Code, head.Code)
		for _, w := range []*httptest.ResponseRecorder{get, head} {
			require.Equal(t, "application/json", w.Header().Get("Content-Type"))
			require.Equal(t, "no-store", w.Header().Get("Cache-Control"), "an answer of a minute ago is no answer")
		}
		for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodOptions} {
			w := ask(t, method, h)
			require.Equal(t, http.StatusMethodNotAllowed, w.Code)
			require.Equal(t, "GET, HEAD", w.Header().Get("Allow"))
		}
	}
}

func TestEveryAnswerIsOfNow(t *testing.T) {
	t.Parallel()
	b := duplextest.Broker(t, broker.Topic{Name: "orders"})
	p, err := producer.New(producer.Config{Cluster: b.Cluster()})
	require.NoError(t, err)
	h := health.Handler(p)
	_, err = producer.Publish(t.Context(), p, duplex.Topic[string]{Name: "orders"}, "x")
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, ask(t, http.MethodGet, h).Code)
	require.NoError(t, p.Close())
	w := ask(t, http.MethodGet, h)
	require.Equal(t, http.StatusServiceUnavailable, w.Code)
	require.Contains(t, w.Body.String(), `"code":"closed"`)
}
