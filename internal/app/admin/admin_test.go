package admin_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/internal/app/admin"
)

type part duplex.Status

func (p part) Status() duplex.Status { return duplex.Status(p) }

func joining() part {
	return part{
		Component: "consumer", Name: "g", Code: duplex.StatusJoining,
		Partitions: []duplex.PartitionStatus{{Topic: "orders", Committed: 9223372036854775807}},
	}
}

func ask(t *testing.T, h http.Handler, method, url string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, url, http.NoBody))
	return w
}

func TestPaths(t *testing.T) {
	t.Parallel()
	metrics := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "up 1") })
	h := admin.Handler(admin.Config{Part: joining(), Metrics: metrics})
	for path, code := range map[string]int{
		"/healthz": 200, "/readyz": 503, "/debug/status": 200, "/metrics": 200, "/": 404, "/debug": 404, "/debug/pprof/": 404,
	} {
		got := ask(t, h, http.MethodGet, "http://127.0.0.1:9090"+path)
		require.Equal(t, code, got.Code, path)
		require.Equal(t, "nosniff", got.Header().Get("X-Content-Type-Options"))
	}
	require.Equal(t, "up 1\n", ask(t, h, http.MethodGet, "http://localhost/metrics").Body.String())
	status := ask(t, h, http.MethodGet, "http://localhost/debug/status")
	require.Contains(t, status.Body.String(), `"committed": 9223372036854775807`, "exactly")
	require.Equal(t, "no-store", status.Header().Get("Cache-Control"))
	for _, path := range []string{"/healthz", "/readyz", "/debug/status", "/metrics"} {
		require.Equal(t, http.StatusMethodNotAllowed, ask(t, h, http.MethodPost, "http://localhost"+path).Code, path)
	}
	ready := joining()
	ready.Code = duplex.StatusOK
	h = admin.Handler(admin.Config{Part: ready})
	require.Equal(t, 200, ask(t, h, http.MethodGet, "http://localhost/readyz").Code)
	require.Equal(t, 404, ask(t, h, http.MethodGet, "http://localhost/metrics").Code, "without metrics")
}

// A page at evil.example that resolves to 127.0.0.1 is of the same origin as what
// it reads there.
func TestForeignHostsAreRefused(t *testing.T) {
	t.Parallel()
	h := admin.Handler(admin.Config{Part: joining()})
	for host, code := range map[string]int{
		"127.0.0.1": 200, "127.0.0.1:80": 200, "127.9.9.9:80": 200, "[::1]": 200, "[::1]:80": 200, "localhost:80": 200, "[::ffff:127.0.0.1]": 200,
		"evil.example": 421, "evil.example:80": 421, "10.0.0.1": 421, "localhost.evil.example": 421, "[::]": 421, "127.0.0.1.evil.example": 421,
	} {
		require.Equal(t, code, ask(t, h, http.MethodGet, "http://"+host+"/debug/status").Code, host)
	}
	h = admin.Handler(admin.Config{Part: joining(), Insecure: true})
	require.Equal(t, 200, ask(t, h, http.MethodGet, "http://evil.example/debug/status").Code)
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"127.0.0.1:9090", "[::1]:0", "localhost:9090"} {
		require.NoError(t, admin.Validate(good, false), good)
	}
	for _, far := range []string{":9090", "0.0.0.0:9090", "[::]:9090", "10.1.2.3:9090", "example.org:9090", "localhost.example.org:1"} {
		require.ErrorContains(t, admin.Validate(far, false), "is not on the loopback interface", far)
		require.NoError(t, admin.Validate(far, true), far)
	}
	for _, bad := range []string{"", "9090", "127.0.0.1", "127.0.0.1:http", "127.0.0.1:-1", "127.0.0.1:65536"} {
		require.Error(t, admin.Validate(bad, true), bad)
	}
}

func TestServerListensUntilItIsClosed(t *testing.T) {
	t.Parallel()
	s, err := admin.Start(t.Context(), admin.Config{Listen: "localhost:0", Part: joining()})
	require.NoError(t, err)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	get := func() (string, error) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.Addr()+"/readyz", http.NoBody)
		require.NoError(t, err)
		res, err := client.Do(req)
		if err != nil {
			return "", err
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		return string(body), err
	}
	body, err := get()
	require.NoError(t, err)
	require.Contains(t, body, `"code":"joining"`)
	_, err = admin.Start(t.Context(), admin.Config{Listen: s.Addr(), Part: joining()})
	require.ErrorContains(t, err, "admin: listening: ")
	require.NoError(t, s.Close())
	require.NoError(t, s.Close())
	_, err = get()
	require.Error(t, err)
	_, err = admin.Start(t.Context(), admin.Config{Listen: "0.0.0.0:0", Part: joining()})
	require.ErrorContains(t, err, "loopback")
}
