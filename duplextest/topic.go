package duplextest

import (
	"context"
	"crypto/rand"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/internal/kafka"
)

// Unique makes a name that nothing else has out of one that a reader knows, for
// groups and whatever else tests must not share on a real Kafka.
func Unique(name string) string { return name + "-" + strings.ToLower(rand.Text()[:10]) }

// Topic creates a topic with a unique name on c and returns topic with that
// name: the test uses the codec and the key of the program. The topic is deleted
// when the test ends. partitions is their number, 0 for the cluster's default.
func Topic[T any](t testing.TB, c duplex.Cluster, topic duplex.Topic[T], partitions int32) duplex.Topic[T] {
	t.Helper()
	topic.Name = NewTopic(t, c, topic.Name, partitions, nil)
	return topic
}

// NewTopic is [Topic] for raw records: it creates a topic with a unique name
// that begins with name, and returns that. configs are topic configurations by
// their Kafka names, nil for none.
func NewTopic(t testing.TB, c duplex.Cluster, name string, partitions int32, configs map[string]string) string {
	t.Helper()
	name = Unique(name)
	values := map[string]*string{}
	for key, value := range configs {
		values[key] = &value
	}
	if partitions == 0 {
		partitions = -1 // Kafka's word for its default
	}
	administer(t, c, func(ctx context.Context, cl *kgo.Client) {
		_, err := kadm.NewClient(cl).CreateTopic(ctx, partitions, -1, values, name)
		require.NoError(t, err, "creating topic %q", name)
		kafka.AwaitEverywhere(ctx, cl, name) // Kafka answers before all brokers know it
	})
	t.Cleanup(func() {
		administer(t, c, func(ctx context.Context, cl *kgo.Client) {
			_, err := kadm.NewClient(cl).DeleteTopic(ctx, name)
			require.NoError(t, err, "deleting topic %q", name)
		})
	})
	return name
}

// administer runs fn with a client of its own, for at most as long as anyone
// has patience.
func administer(t testing.TB, c duplex.Cluster, fn func(context.Context, *kgo.Client)) {
	t.Helper()
	cl := client(t, c)
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 3*patience)
	defer cancel()
	fn(ctx, cl)
}
