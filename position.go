package duplex

import "fmt"

// Position is the place of one record in Kafka. A Position that a publish
// returned is where the broker acknowledged the record to be.
type Position struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
}

// String gives topic/partition/offset.
func (p Position) String() string { return fmt.Sprintf("%s/%d/%d", p.Topic, p.Partition, p.Offset) }
