package push

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex/internal/kafka"
)

// errEnd is why Run stops with --until-end.
var errEnd = errors.New("the end is reached")

const endPoll = 200 * time.Millisecond

// watchEnd stops the program once the group has committed up to where the
// topics ended when it started. It looks at the group, not at this member, so
// that several members can share the work.
func (o *options) watchEnd(ctx context.Context, stop context.CancelCauseFunc) error {
	client, err := kafka.NewClient(o.cluster.Cluster(), nil)
	if err != nil {
		return err
	}
	defer client.Close()
	if kafka.Reach(ctx, client, "consumer", o.startTimeout) != nil {
		return nil // Run says it
	}
	ends, err := o.ends(ctx, client)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		stop(err)
		return err
	}
	ticker := time.NewTicker(endPoll)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		// An answer that fails is asked for again: Run has the say about the cluster.
		if committed, err := kadm.NewClient(client).FetchOffsets(ctx, o.group); err == nil && reached(committed, ends) {
			stop(errEnd)
			return nil
		}
	}
}

func (o *options) ends(ctx context.Context, client *kgo.Client) (map[string]map[int32]int64, error) {
	ends := map[string]map[int32]int64{}
	for _, topic := range o.topics {
		at, err := kafka.CommittedEndOffsets(ctx, client, topic)
		if err != nil {
			return nil, fmt.Errorf("finding the end for --until-end: %w", err)
		}
		ends[topic] = at
	}
	return ends, nil
}

func reached(committed kadm.OffsetResponses, ends map[string]map[int32]int64) bool {
	for topic, partitions := range ends {
		for p, end := range partitions {
			o, ok := committed.Lookup(topic, p)
			if !ok || o.Err != nil || o.At < end {
				return false
			}
		}
	}
	return true
}
