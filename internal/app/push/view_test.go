package push_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
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

func TestMetricsAreThereForPrometheus(t *testing.T) {
	t.Parallel()
	b := orders(t, 2, numbered("orders", 10, 2)...)
	p := start(t, nil, nil, to(b, "-t", "orders", "-g", "g", "--admin", "127.0.0.1:0")...)
	at := adminOf(t, p)
	var body string
	require.Eventually(t, func() bool {
		_, body = get(t, at+"/metrics")
		return regexp.MustCompile(`\nduplex_consumer_handled_total\{[^}]*\} 10\n`).MatchString(body) &&
			strings.Contains(body, `messaging_operation_name="commit"`)
	}, soon, 10*time.Millisecond)
	for _, name := range []string{
		"messaging_process_duration_seconds_bucket{", "messaging_client_consumed_messages_total{", "duplex_consumer_lag{",
		`messaging_destination_partition_id="1"`, `messaging_consumer_group_name="g"`, `service_name="duplex-consumer"`, "go_goroutines ",
	} {
		require.Contains(t, body, name)
	}
	require.Regexp(t, `\nmessaging_client_consumed_messages_total\{[^}]*\} 10\n`, body, "each is counted once")
	p.Signal(command.ErrTerminated)
	require.Zero(t, p.Wait())
}

func TestTracesGoWhereTheEnvironmentSays(t *testing.T) {
	t.Parallel()
	b := orders(t, 1, order("k", "v"))
	asked := make(chan string, 10)
	backend := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { asked <- r.URL.Path }))
	t.Cleanup(backend.Close)
	p := start(t, nil, []string{"PATH=" + os.Getenv("PATH"), "OTEL_EXPORTER_OTLP_ENDPOINT=" + backend.URL, "TRACEPARENT=stale"},
		to(b, "-t", "orders", "-g", "g", "--until-end", "--exec", `echo "$TRACEPARENT"`)...)
	require.Zero(t, p.Wait(), p.Stderr.String())
	require.Regexp(t, "^00-[0-9a-f]{32}-[0-9a-f]{16}-01\n$", p.Stdout.String())
	require.ElementsMatch(t, []string{"/v1/traces", "/v1/metrics"}, []string{<-asked, <-asked})
}

func TestBackendThatIsDownDoesNotFailTheProgram(t *testing.T) {
	t.Parallel()
	b := orders(t, 1, order("k", "v"))
	p := start(t, nil, []string{"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT=http://" + apptest.Nobody(t)}, to(b, "-t", "orders", "-g", "g", "--until-end")...)
	require.Zero(t, p.Wait(), p.Stderr.String())
	require.Contains(t, p.Stderr.String(), "consumer: telemetry: sending the last of it: ")
	require.Equal(t, 1, sum(committed(b, "g", "orders")))
}

func TestWrongTelemetryIsAUsageError(t *testing.T) {
	t.Parallel()
	p := start(t, nil, []string{"OTEL_EXPORTER_OTLP_ENDPOINT=nowhere"}, "-t", "orders", "-g", "g")
	require.Equal(t, 2, p.Wait())
	require.Contains(t, p.Stderr.String(), "OTEL_EXPORTER_OTLP_ENDPOINT: want a URL")
}
