package integration

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/moby/moby/client"
	"github.com/testcontainers/testcontainers-go"
)

const (
	probeTimeout = 3 * time.Second
	pullTimeout  = 5 * time.Minute

	// Containers carry these labels; sweep reads them.
	labelHost = "duplex.integration.host"
	labelPID  = "duplex.integration.pid"
)

func image() string { return cmp.Or(os.Getenv("DUPLEX_KAFKA_IMAGE"), "apache/kafka:4.3.0") }

// engineMissing says why no container can be started, nil when one can: the
// engine answers within probeTimeout and the image is there or can be pulled.
var engineMissing = sync.OnceValue(func() error {
	if err := probeEngine(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), pullTimeout)
	defer cancel()
	if err := withEngine(ctx, func(engine client.APIClient) error { return provideImage(ctx, engine) }); err != nil {
		return err
	}
	return sweep(ctx)
})

func probeEngine() error {
	ctx, cancel := context.WithTimeout(context.Background(), probeTimeout)
	defer cancel()
	err := withEngine(ctx, func(engine client.APIClient) error {
		_, err := engine.Ping(ctx, client.PingOptions{})
		return err
	})
	if err != nil {
		return fmt.Errorf("no Docker engine answered within %s and DUPLEX_TEST_BROKERS is not set: %w", probeTimeout, err)
	}
	return nil
}

// withEngine calls fn with a client for the engine that testcontainers uses, by
// the same rules.
func withEngine(ctx context.Context, fn func(client.APIClient) error) (err error) {
	defer func() {
		// testcontainers panics where it finds no engine at all.
		if p := recover(); p != nil {
			err = fmt.Errorf("looking for Docker: %v", p)
		}
	}()
	engine, err := testcontainers.NewDockerClientWithOpts(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, engine.Close()) }()
	return fn(engine)
}

func provideImage(ctx context.Context, engine client.APIClient) error {
	name := image()
	if _, err := engine.ImageInspect(ctx, name); err == nil {
		return nil
	}
	pull, err := engine.ImagePull(ctx, name, client.ImagePullOptions{})
	if err == nil {
		err = errors.Join(pull.Wait(ctx), pull.Close())
	}
	if err != nil {
		return fmt.Errorf("image %s is not here and cannot be pulled: %w", name, err)
	}
	return nil
}

// sweep removes the containers of earlier runs that were killed before they could
// do it themselves.
func sweep(ctx context.Context) error {
	return withEngine(ctx, func(engine client.APIClient) error {
		list, err := engine.ContainerList(ctx, client.ContainerListOptions{
			All: true, Filters: make(client.Filters).Add("label", labelHost+"="+hostname()),
		})
		if err != nil {
			return fmt.Errorf("listing containers of earlier runs: %w", err)
		}
		for _, c := range list.Items {
			if alive(c.Labels[labelPID]) {
				continue
			}
			// Another run may be removing it at the same time.
			_, _ = engine.ContainerRemove(ctx, c.ID, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
		}
		return nil
	})
}

func alive(pid string) bool {
	n, err := strconv.Atoi(pid)
	if err != nil {
		return false
	}
	return syscall.Kill(n, 0) == nil
}

func labels() map[string]string {
	return map[string]string{labelHost: hostname(), labelPID: strconv.Itoa(os.Getpid())}
}

func hostname() string {
	name, err := os.Hostname()
	if err != nil {
		return "unknown"
	}
	return name
}

// freePort finds a loopback port that nobody listens on, below the range from
// which systems take the source ports of connections: the port must still be free
// when a killed broker comes back to it, and a client that dials a port of that
// range again and again may end up connected to itself.
func freePort() (int, error) {
	const lowest, highest, tries = 20_000, 32_000, 100
	var last error
	for range tries {
		port := lowest + rand.IntN(highest-lowest)
		var config net.ListenConfig
		l, err := config.Listen(context.Background(), "tcp", net.JoinHostPort(loopback, strconv.Itoa(port)))
		if err != nil {
			last = err
			continue
		}
		return port, l.Close()
	}
	return 0, fmt.Errorf("looking for a free port: %w", last)
}

const loopback = "127.0.0.1"
