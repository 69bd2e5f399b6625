package duplextest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
)

// RequireCommitted checks that the group has committed the offset want for the
// partition: every record below want is finished. It waits up to 10 s for it;
// want is −1 for a group that never committed there.
func RequireCommitted(t testing.TB, c duplex.Cluster, group, topic string, partition int32, want int64) {
	t.Helper()
	administer(t, c, func(ctx context.Context, cl *kgo.Client) {
		admin := kadm.NewClient(cl)
		got, err := committed(ctx, admin, group, topic, partition)
		for deadline := time.Now().Add(patience); (err != nil || got != want) && time.Now().Before(deadline); {
			select {
			case <-ctx.Done():
			case <-time.After(20 * time.Millisecond):
			}
			got, err = committed(ctx, admin, group, topic, partition)
		}
		require.NoError(t, err, "asking for the offsets of group %q", group)
		require.Equal(t, want, got, "committed offset of group %q for %s/%d", group, topic, partition)
	})
}

func committed(ctx context.Context, admin *kadm.Client, group, topic string, partition int32) (int64, error) {
	offsets, err := admin.FetchOffsets(ctx, group)
	if errors.Is(err, kerr.GroupIDNotFound) {
		return -1, nil // some brokers know no group before its first commit
	}
	if err != nil {
		return -1, err
	}
	o, ok := offsets.Lookup(topic, partition)
	if !ok {
		return -1, nil
	}
	return o.At, o.Err
}
