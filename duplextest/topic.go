package duplextest

import (
	"context"
	"crypto/rand"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/internal/kafka"
)

const adminTimeout = 30 * time.Second

// Unique makes a name that no other test uses from one that a reader knows:
// for groups, and whatever else must not be shared on a real Kafka.
func Unique(name string) string { return name + "-" + strings.ToLower(rand.Text()[:10]) }

// Topic creates a topic with a unique name on c and returns t with that name,
// so that its codec and key are those of the program. The topic is deleted when
// the test ends. partitions is their number, the cluster's default if 0.
func Topic[T any](t testing.TB, c duplex.Cluster, topic duplex.Topic[T], partitions int32) duplex.Topic[T] {
	t.Helper()
	topic.Name = NewTopic(t, c, topic.Name, partitions, nil)
	return topic
}

// NewTopic is [Topic] for raw records: it creates a topic with a unique name
// that starts with name, and returns that name. configs are topic
// configurations by their Kafka names, nil for none.
func NewTopic(t testing.TB, c duplex.Cluster, name string, partitions int32, configs map[string]string) string {
	t.Helper()
	name = Unique(name)
	values := map[string]*string{}
	for _, k := range slices.Sorted(maps.Keys(configs)) {
		values[k] = kadm.StringPtr(configs[k])
	}
	if partitions == 0 {
		partitions = -1
	}
	ctx, cancel := context.WithTimeout(context.Background(), adminTimeout)
	defer cancel()
	admin := kadm.NewClient(client(t, c))
	_, err := admin.CreateTopic(ctx, partitions, -1, values, name)
	require.NoError(t, err, "creating topic %q", name)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), adminTimeout)
		defer cancel()
		_, err := admin.DeleteTopic(ctx, name)
		require.NoError(t, err, "deleting topic %q", name)
	})
	return name
}

// client makes a client that is closed when the test ends.
func client(t testing.TB, c duplex.Cluster, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kafka.NewClient(c, nil, opts...)
	require.NoError(t, err)
	t.Cleanup(cl.Close)
	return cl
}
