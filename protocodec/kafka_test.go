package protocodec_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/duplextest"
	"github.com/duplex-go/duplex/producer"
	"github.com/duplex-go/duplex/protocodec"
)

func TestMessagesThroughKafka(t *testing.T) {
	t.Parallel()
	cluster := duplextest.Cluster(t)
	topic := duplextest.Topic(t, cluster, duplex.Topic[*wrapperspb.StringValue]{Name: "names", Codec: protocodec.Proto}, 1)
	p, err := producer.New(producer.Config{Cluster: cluster})
	require.NoError(t, err)
	defer p.Close()
	want := []*wrapperspb.StringValue{wrapperspb.String("ann"), {}, wrapperspb.String("")}
	for _, m := range want {
		_, err := producer.Publish(t.Context(), p, topic, m)
		require.NoError(t, err)
	}
	// An empty message that Kafka stored as null would not be decodable.
	duplextest.RequireRecords(t, cluster, topic, want...)
}
