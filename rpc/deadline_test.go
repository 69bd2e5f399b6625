package rpc_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duplex-go/duplex/duplextest"
	"github.com/duplex-go/duplex/rpc"
)

// As handlers' do, which call others.
func TestADeadlineWithACauseOfItsOwnIsADeadline(t *testing.T) {
	cluster, m := duplextest.Cluster(t), add(service(t))
	release := make(chan struct{})
	defer close(release)
	serve(t, rpc.ServerConfig{Cluster: cluster, Handlers: []rpc.Handler{rpc.Handle(m, func(_ context.Context, s sum) (int, error) {
		if s.A > 0 {
			<-release
		}
		return 0, nil
	})}})
	c := client(t, rpc.ClientConfig{Cluster: cluster, WaitForServer: true})
	_, err := rpc.Call(within(t, 20*time.Second), c, m, sum{})
	require.NoError(t, err)
	ctx, cancel := context.WithDeadlineCause(t.Context(), time.Now().Add(100*time.Millisecond), errors.New("closing time"))
	defer cancel()
	_, err = rpc.Call(ctx, c, m, sum{A: 1})
	require.ErrorIs(t, err, rpc.DeadlineExceeded)
	require.ErrorContains(t, err, "closing time")
	require.Equal(t, rpc.Maybe, rpc.ExecutedOf(err))
}
