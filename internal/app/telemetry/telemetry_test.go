package telemetry_test

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duplex-go/duplex/internal/app/telemetry"
)

// collector is an OTLP backend that remembers the paths it was asked for.
type collector struct {
	*httptest.Server

	mu    sync.Mutex
	paths []string
}

func startCollector(t *testing.T, code int) *collector {
	t.Helper()
	c := &collector{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.paths = append(c.paths, r.URL.Path)
		w.WriteHeader(code)
	}))
	t.Cleanup(c.Close)
	return c
}

func (c *collector) asked() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	slices.Sort(c.paths)
	return slices.Compact(c.paths)
}

// use has the providers tell of something.
func use(t *testing.T, p *telemetry.Providers) {
	t.Helper()
	if p.Traces != nil {
		_, span := p.Traces.Tracer("test").Start(t.Context(), "work")
		span.End()
	}
	if p.Metrics != nil {
		counter, err := p.Metrics.Meter("test").Int64Counter("test.count")
		require.NoError(t, err)
		counter.Add(t.Context(), 7)
	}
}

func TestOffUnlessAsked(t *testing.T) {
	t.Parallel()
	for _, environ := range [][]string{
		nil, {"OTEL_SERVICE_NAME=x"}, {"OTEL_EXPORTER_OTLP_ENDPOINT="}, {"OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:1", "OTEL_SDK_DISABLED=TRUE"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:1", "OTEL_TRACES_EXPORTER=none", "OTEL_METRICS_EXPORTER=none"},
	} {
		p, err := telemetry.Start(t.Context(), telemetry.Config{Service: "s", Environ: environ})
		require.NoError(t, err)
		require.Nil(t, p.Traces)
		require.Nil(t, p.Metrics)
		require.Nil(t, p.Handler)
		require.NoError(t, p.Close())
	}
}

func TestEnvironmentSaysWhereItGoes(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		environ func(url string) []string
		want    []string
	}{
		"both": {func(url string) []string { return []string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + url} }, []string{"/v1/metrics", "/v1/traces"}},
		"a path before": {func(url string) []string {
			return []string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + url + "/otlp/", "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"}
		}, []string{"/otlp/v1/metrics", "/otlp/v1/traces"}},
		"traces":  {func(url string) []string { return []string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=" + url + "/mine"} }, []string{"/mine"}},
		"metrics": {func(url string) []string { return []string{"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT=" + url + "/mine"} }, []string{"/mine"}},
		"all but traces": {func(url string) []string {
			return []string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + url, "OTEL_TRACES_EXPORTER=none"}
		}, []string{"/v1/metrics"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := startCollector(t, http.StatusOK)
			p, err := telemetry.Start(t.Context(), telemetry.Config{Service: "s", Environ: test.environ(c.URL)})
			require.NoError(t, err)
			use(t, p)
			require.NoError(t, p.Close())
			require.NoError(t, p.Close(), "again")
			require.Equal(t, test.want, c.asked())
		})
	}
}

func TestScrape(t *testing.T) {
	t.Parallel()
	p, err := telemetry.Start(t.Context(), telemetry.Config{Service: "mine", Scrape: true})
	require.NoError(t, err)
	require.Nil(t, p.Traces)
	use(t, p)
	w := httptest.NewRecorder()
	p.Handler.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", http.NoBody))
	require.Equal(t, http.StatusOK, w.Code)
	require.Contains(t, w.Body.String(), "test_count_total{")
	require.Contains(t, w.Body.String(), `service_name="mine"`)
	require.Contains(t, w.Body.String(), "go_goroutines ")
	require.NoError(t, p.Close())
}

func TestWrongEnvironment(t *testing.T) {
	t.Parallel()
	for says, environ := range map[string][]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT: want a URL":                               {"OTEL_EXPORTER_OTLP_ENDPOINT=127.0.0.1:4318"},
		"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT: want a URL":                       {"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT=ftp://secret@x"},
		`OTEL_EXPORTER_OTLP_PROTOCOL="grpc": only http/protobuf`:                {"OTEL_EXPORTER_OTLP_ENDPOINT=http://x", "OTEL_EXPORTER_OTLP_PROTOCOL=grpc"},
		`OTEL_EXPORTER_OTLP_METRICS_PROTOCOL="http/json": only http/protobuf i`: {"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT=http://x", "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL=http/json"},
	} {
		_, err := telemetry.Start(t.Context(), telemetry.Config{Service: "s", Environ: environ})
		require.ErrorContains(t, err, says)
		require.NotContains(t, err.Error(), "secret")
	}
}
