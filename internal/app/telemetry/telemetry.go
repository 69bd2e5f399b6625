// Package telemetry makes the OpenTelemetry providers of a program: Prometheus
// for its admin port, and OTLP where the environment asks for it.
package telemetry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	otelprometheus "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/metric"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// Config says what is wanted.
type Config struct {
	// Service is service.name, unless OTEL_SERVICE_NAME says another. Required.
	Service string
	// Environ is the environment. OTEL_EXPORTER_OTLP_ENDPOINT sends traces and
	// metrics there, its variants with _TRACES_ and _METRICS_ one of the two.
	// OTEL_SDK_DISABLED=true, OTEL_TRACES_EXPORTER=none and
	// OTEL_METRICS_EXPORTER=none turn it off again. What else the SDK reads, such
	// as OTEL_EXPORTER_OTLP_HEADERS, it reads from the process.
	Environ []string
	// Scrape asks for Providers.Handler.
	Scrape bool
}

// Providers are those of a program. The fields are nil for what is off.
type Providers struct {
	Traces  trace.TracerProvider
	Metrics metric.MeterProvider
	// Handler answers what Prometheus asks.
	Handler http.Handler

	stop []func(context.Context) error
}

// closeTimeout is how long the last spans and metrics may take: who stops a
// program waits for it, and a backend that is down must not hold it.
const closeTimeout = 5 * time.Second

// Start makes the providers. It does not dial: what cannot be sent later is said
// on standard error, by the SDK.
func Start(ctx context.Context, cfg Config) (*Providers, error) {
	p := &Providers{}
	if err := p.start(ctx, cfg); err != nil {
		return nil, errors.Join(fmt.Errorf("telemetry: %w", err), p.close(context.WithoutCancel(ctx)))
	}
	return p, nil
}

func (p *Providers) start(ctx context.Context, cfg Config) error {
	env := environment(cfg.Environ)
	traces, err := env.endpoint("TRACES", "/v1/traces")
	if err != nil {
		return err
	}
	metrics, err := env.endpoint("METRICS", "/v1/metrics")
	if err != nil {
		return err
	}
	if traces == "" && metrics == "" && !cfg.Scrape {
		return nil
	}
	about, err := resource.New(ctx, resource.WithAttributes(attribute.String("service.name", cfg.Service)), resource.WithTelemetrySDK(), resource.WithFromEnv())
	if err != nil {
		return fmt.Errorf("describing this program: %w", err)
	}
	if traces != "" {
		if err := p.startTraces(ctx, traces, about); err != nil {
			return err
		}
	}
	return p.startMetrics(ctx, metrics, cfg.Scrape, about)
}

func (p *Providers) startTraces(ctx context.Context, endpoint string, about *resource.Resource) error {
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(endpoint))
	if err != nil {
		return fmt.Errorf("exporting traces to %s: %w", endpoint, err)
	}
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(about))
	p.Traces, p.stop = provider, append(p.stop, provider.Shutdown)
	return nil
}

func (p *Providers) startMetrics(ctx context.Context, endpoint string, scrape bool, about *resource.Resource) error {
	options := []sdkmetric.Option{sdkmetric.WithResource(about)}
	if scrape {
		registry := prometheus.NewRegistry()
		registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
		exporter, err := otelprometheus.New(otelprometheus.WithRegisterer(registry))
		if err != nil {
			return fmt.Errorf("making metrics for Prometheus: %w", err)
		}
		options = append(options, sdkmetric.WithReader(exporter))
		p.Handler = promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
	}
	if endpoint != "" {
		exporter, err := otlpmetrichttp.New(ctx, otlpmetrichttp.WithEndpointURL(endpoint))
		if err != nil {
			return fmt.Errorf("exporting metrics to %s: %w", endpoint, err)
		}
		options = append(options, sdkmetric.WithReader(sdkmetric.NewPeriodicReader(exporter)))
	}
	if len(options) == 1 {
		return nil
	}
	provider := sdkmetric.NewMeterProvider(options...)
	p.Metrics, p.stop = provider, append(p.stop, provider.Shutdown)
	return nil
}

// Close sends what is left and ends the providers, within five seconds.
func (p *Providers) Close() error { return p.close(context.Background()) }

func (p *Providers) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, closeTimeout)
	defer cancel()
	var errs []error
	for _, stop := range p.stop {
		errs = append(errs, stop(ctx))
	}
	p.stop = nil
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("telemetry: sending the last of it: %w", err)
	}
	return nil
}

// variables are an environment.
type variables map[string]string

func environment(environ []string) variables {
	all := variables{}
	for _, v := range environ {
		if name, value, ok := strings.Cut(v, "="); ok {
			all[name] = strings.TrimSpace(value)
		}
	}
	return all
}

// endpoint is where one signal goes, "" for nowhere.
func (v variables) endpoint(signal, path string) (string, error) {
	if strings.EqualFold(v["OTEL_SDK_DISABLED"], "true") || v["OTEL_"+signal+"_EXPORTER"] == "none" {
		return "", nil
	}
	name := "OTEL_EXPORTER_OTLP_" + signal + "_ENDPOINT"
	at := v[name]
	if at == "" {
		name = "OTEL_EXPORTER_OTLP_ENDPOINT"
		if at = v[name]; at == "" {
			return "", nil
		}
		at = strings.TrimSuffix(at, "/") + path
	}
	u, err := url.Parse(at)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return "", fmt.Errorf("%s: want a URL such as http://127.0.0.1:4318", name) // not shown: it may have a secret in it
	}
	for _, name := range []string{"OTEL_EXPORTER_OTLP_" + signal + "_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"} {
		if protocol := v[name]; protocol != "" {
			if protocol != "http/protobuf" {
				return "", fmt.Errorf("%s=%q: only http/protobuf is spoken here, by default at port 4318", name, protocol)
			}
			break
		}
	}
	return at, nil
}
