// Package admin is the port of a program that is for those who run it: probes,
// status and metrics.
//
//	/healthz       200 as long as the program answers
//	/readyz        200 while its component is healthy, 503 with the reasons otherwise
//	/debug/status  the component's status as JSON
//	/metrics       for Prometheus, where there are metrics
//
// It tells of topics, keys and errors, and asks nobody who they are. So it listens
// on the loopback interface, and answers only requests for a loopback host there:
// a web page that has its own name resolve to 127.0.0.1 gets nothing.
package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/health"
)

// Config says where to listen, and what to tell.
type Config struct {
	// Listen is the host:port to listen on; port 0 takes a free one. Required.
	Listen string
	// Insecure allows other interfaces than loopback.
	Insecure bool
	// Part is the component. Required.
	Part interface{ Status() duplex.Status }
	// Metrics serves /metrics. Defaults to none.
	Metrics http.Handler
}

// Validate says what is wrong with an address.
func Validate(listen string, insecure bool) error {
	host, service, err := net.SplitHostPort(listen)
	if err != nil {
		return fmt.Errorf("%q: want host:port, such as 127.0.0.1:9090", listen)
	}
	if port, err := strconv.Atoi(service); err != nil || port < 0 || port > 65535 {
		return fmt.Errorf("%q: port %q is not a number from 0 to 65535", listen, service)
	}
	if !insecure && !loopback(host) {
		return fmt.Errorf("%q: is not on the loopback interface, and whoever reaches it may read it: use 127.0.0.1, [::1] or localhost, or allow it", listen)
	}
	return nil
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

// Server is one that listens. Its methods are safe for concurrent use.
type Server struct {
	http   http.Server
	addr   string
	served chan error
}

const (
	headerTimeout = 5 * time.Second
	answerTimeout = 30 * time.Second
	idleTimeout   = time.Minute
	closeTimeout  = time.Second
	maxHeader     = 16 << 10
)

// Start listens until Close.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	if err := Validate(cfg.Listen, cfg.Insecure); err != nil {
		return nil, fmt.Errorf("admin: listening on %w", err)
	}
	host, port, err := net.SplitHostPort(cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("admin: listening: %w", err)
	}
	if host == "localhost" {
		host = "127.0.0.1" // whatever a resolver says of it
	}
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", net.JoinHostPort(host, port))
	if err != nil {
		return nil, fmt.Errorf("admin: listening: %w", err)
	}
	s := &Server{addr: l.Addr().String(), served: make(chan error, 1)}
	s.http = http.Server{
		Handler:           Handler(cfg),
		ReadHeaderTimeout: headerTimeout, ReadTimeout: headerTimeout, WriteTimeout: answerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
	}
	go func() { s.served <- s.http.Serve(l) }()
	return s, nil
}

// Addr is the address that it listens on.
func (s *Server) Addr() string { return s.addr }

// Close ends it; requests that are being answered have a second.
func (s *Server) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, s.http.Close())
	}
	if served := <-s.served; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	s.served <- http.ErrServerClosed // for a second Close
	if err != nil {
		return fmt.Errorf("admin: closing: %w", err)
	}
	return nil
}

// Handler answers what the package's comment lists.
func Handler(cfg Config) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/healthz", health.Handler())
	mux.Handle("/readyz", health.Handler(cfg.Part))
	mux.HandleFunc("GET /debug/status", func(w http.ResponseWriter, _ *http.Request) {
		body, err := json.MarshalIndent(cfg.Part.Status(), "", "  ")
		if err != nil {
			http.Error(w, "admin: "+err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		_, _ = w.Write(append(body, '\n')) // whoever asked went away: nobody to tell
	})
	if cfg.Metrics != nil {
		mux.Handle("GET /metrics", cfg.Metrics)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		if !cfg.Insecure && !forLoopback(r.Host) {
			http.Error(w, "admin: ask for 127.0.0.1, [::1] or localhost", http.StatusMisdirectedRequest)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

func forLoopback(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		return loopback(name)
	}
	if n := len(host); n > 2 && host[0] == '[' && host[n-1] == ']' {
		host = host[1 : n-1]
	}
	return loopback(host)
}
