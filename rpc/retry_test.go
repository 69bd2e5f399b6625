package rpc_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duplex-go/duplex/duplextest"
	"github.com/duplex-go/duplex/rpc"
)

// An error is about the call, not about its last attempt: where an earlier one may have
// run, it does not say never.
func TestACallThatMayHaveRunIsNeverNever(t *testing.T) {
	cluster, m := duplextest.Cluster(t), add(service(t))
	var ran atomic.Int64
	serve(t, rpc.ServerConfig{Cluster: cluster, Handlers: []rpc.Handler{rpc.Handle(m, func(ctx context.Context, s sum) (int, error) {
		ran.Add(1)
		if rpc.FromContext(ctx).Attempt == 0 {
			return 0, &rpc.Error{Code: rpc.Unavailable, Executed: rpc.Executed([]string{"maybe", "never"}[s.A])}
		}
		return 0, &rpc.Error{Code: rpc.FailedPrecondition, Executed: rpc.Never}
	})}})
	c := client(t, rpc.ClientConfig{Cluster: cluster, WaitForServer: true})
	ctx := within(t, 20*time.Second)
	for first, want := range []rpc.Executed{rpc.Maybe, rpc.Never} {
		_, err := rpc.Call(ctx, c, m, sum{A: first})
		require.ErrorIs(t, err, rpc.FailedPrecondition, "the second attempt's")
		require.Equal(t, want, rpc.ExecutedOf(err))
		_, err = rpc.Go(ctx, c, m, sum{A: first}).Wait(ctx)
		require.ErrorIs(t, err, rpc.FailedPrecondition)
		require.Equal(t, want, rpc.ExecutedOf(err))
	}
	require.EqualValues(t, 8, ran.Load())
}
