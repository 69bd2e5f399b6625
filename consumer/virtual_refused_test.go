//go:build synctests

package consumer_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/consumer"
	"github.com/duplex-go/duplex/dlq"
)

// R3: a record that no retry topic took before its consumer died does not run before it
// is due either.
func TestVirtualRefusedHopKeepsItsWait(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		const wait = 20 * time.Minute
		w.publish(0, 0, 1)
		var mu sync.Mutex
		var at []time.Time
		cfg := consumer.Config{Failures: dlq.Policy{}, Handlers: handle(func(ctx context.Context, _ *kgo.Record) error {
			mu.Lock()
			defer mu.Unlock()
			at = append(at, time.Now())
			if consumer.FromContext(ctx).Attempt == 1 {
				return duplex.RetryAfter(wait, errors.New("later"))
			}
			return nil
		})}
		ran := func(times int) func() bool {
			return func() bool {
				mu.Lock()
				defer mu.Unlock()
				return len(at) == times
			}
		}
		refused := w.kafka.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.TopicAuthorizationFailed, Count: -1})
		a := w.start(cfg)
		eventually(t, 10*time.Second, "the failure", ran(1))
		time.Sleep(10 * time.Second) // and a commit
		a.crash()
		_ = a.halt()
		refused.Remove()
		b := w.start(cfg)
		eventually(t, time.Hour, "it runs again", ran(2))
		require.GreaterOrEqual(t, at[1].Sub(at[0]), wait)
		require.NoError(t, b.halt())
	})
}
