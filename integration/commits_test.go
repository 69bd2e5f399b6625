package integration

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	hist "github.com/duplex-go/duplex/internal/history"
	"github.com/duplex-go/duplex/internal/suite"
)

// watchCommits is what records each offset that the member asks to be committed,
// before a broker gets to see it: everything below must be finished by then. The group
// has one topic.
func (m *memberProcess) watchCommits() *suite.Wire {
	return &suite.Wire{Keys: []kmsg.Key{kmsg.OffsetCommit}, Sends: func(r kmsg.Request) {
		req, _ := r.(*kmsg.OffsetCommitRequest)
		for _, topic := range req.Topics {
			for _, p := range topic.Partitions {
				// The first error comes again when a handler records.
				_ = m.recorder.Record(hist.Event{
					Kind: hist.Committing, Member: m.settings.Name, Topic: m.settings.Topic, Partition: p.Partition, Offset: p.Offset,
				})
			}
		}
	}}
}
