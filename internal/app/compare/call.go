package compare

import (
	"context"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/rpc"
)

// What a program has to say to have its work done as calls. The lines of this file are
// counted (lines.go).

func rebook(service string) rpc.Method[Trip, Booking] {
	return rpc.Method[Trip, Booking]{Service: service, Name: "Rebook", Timeout: deadline}
}

func newServer(cluster duplex.Cluster, names Names, d *desk) (*rpc.Server, error) {
	return rpc.NewServer(rpc.ServerConfig{
		Cluster:        cluster,
		Concurrency:    workers,
		SessionTimeout: sessionTimeout,
		DrainTimeout:   drainTimeout,
		Handlers:       []rpc.Handler{rpc.Handle(rebook(names.Service), d.rebook)},
	})
}

func newClient(cluster duplex.Cluster, names Names) (*rpc.Client, error) {
	return rpc.NewClient(rpc.ClientConfig{Cluster: cluster, Service: names.Caller})
}

func call(ctx context.Context, c *rpc.Client, names Names, t Trip) (Booking, error) {
	return rpc.Call(ctx, c, rebook(names.Service), t)
}
