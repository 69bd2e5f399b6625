package push_test

import (
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/internal/app/apptest"
	"github.com/duplex-go/duplex/internal/command"
)

var adminAt = regexp.MustCompile(`admin at (http://127\.0\.0\.1:\d+)\n`)

// adminOf waits until the program has said where its admin port is.
func adminOf(t *testing.T, p *apptest.Program) string {
	t.Helper()
	require.Eventually(t, func() bool { return adminAt.MatchString(p.Stderr.String()) }, soon, 5*time.Millisecond, p.Stderr.String())
	return adminAt.FindStringSubmatch(p.Stderr.String())[1]
}

func get(t *testing.T, url string) (code int, body string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	require.NoError(t, err)
	res, err := client.Do(req)
	require.NoError(t, err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return res.StatusCode, string(text)
}

func TestAdminPortShowsTheConsumer(t *testing.T) {
	t.Parallel()
	b := orders(t, 2, numbered("orders", 10, 2)...)
	p := start(t, nil, nil, to(b, "-t", "orders", "-g", "g", "--admin", "127.0.0.1:0")...)
	at := adminOf(t, p)
	require.Eventually(t, func() bool {
		code, _ := get(t, at+"/readyz")
		return code == http.StatusOK && len(p.Stdout.Lines()) == 10
	}, soon, 10*time.Millisecond)
	code, _ := get(t, at+"/healthz")
	require.Equal(t, http.StatusOK, code)
	require.Eventually(t, func() bool {
		_, body := get(t, at+"/debug/status")
		var s duplex.Status
		require.NoError(t, json.Unmarshal([]byte(body), &s))
		return s.Name == "g" && s.Counts["handled"] == 10 && len(s.Partitions) == 2
	}, soon, 10*time.Millisecond)
	p.Signal(command.ErrTerminated)
	require.Zero(t, p.Wait())
}

func TestAdminPortSaysWhyItIsNotReady(t *testing.T) {
	t.Parallel()
	p := start(t, nil, nil, "-t", "orders", "-g", "g", "--brokers", apptest.Silence(t), "--admin", "localhost:0")
	at := adminOf(t, p)
	code, body := get(t, at+"/readyz")
	require.Equal(t, http.StatusServiceUnavailable, code)
	require.Contains(t, body, `"code":"joining"`)
	code, _ = get(t, at+"/healthz")
	require.Equal(t, http.StatusOK, code, "it lives")
	p.Signal(command.ErrTerminated)
	require.Zero(t, p.Wait())
}

func TestAdminPortThatIsTakenIsSaid(t *testing.T) {
	t.Parallel()
	taken := apptest.Silence(t)
	p := start(t, nil, nil, "-t", "orders", "-g", "g", "--brokers", apptest.Nobody(t), "--admin", taken)
	require.Equal(t, 1, p.Wait())
	require.Contains(t, p.Stderr.String(), "admin: listening: ")
	require.Contains(t, p.Stderr.String(), "address already in use")
}
