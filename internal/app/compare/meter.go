package compare

import (
	"maps"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// meter counts what the Kafka clients of one form write and read. It is a hook of all
// of them.
type meter struct {
	mu      sync.Mutex
	bytes   int64
	records map[string]int // written and acknowledged, by topic
}

var (
	_ kgo.HookBrokerWrite         = (*meter)(nil)
	_ kgo.HookBrokerRead          = (*meter)(nil)
	_ kgo.HookProduceBatchWritten = (*meter)(nil)
)

func newMeter() *meter { return &meter{records: map[string]int{}} }

// OnBrokerWrite implements kgo.HookBrokerWrite.
func (m *meter) OnBrokerWrite(_ kgo.BrokerMetadata, _ int16, n int, _, _ time.Duration, _ error) {
	m.add(n)
}

// OnBrokerRead implements kgo.HookBrokerRead.
func (m *meter) OnBrokerRead(_ kgo.BrokerMetadata, _ int16, n int, _, _ time.Duration, _ error) {
	m.add(n)
}

func (m *meter) add(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.bytes += int64(n)
}

// OnProduceBatchWritten implements kgo.HookProduceBatchWritten.
func (m *meter) OnProduceBatchWritten(_ kgo.BrokerMetadata, topic string, _ int32, batch kgo.ProduceBatchMetrics) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.records[topic] += batch.NumRecords
}

// reading is what a meter shows.
type reading struct {
	bytes   int64
	records map[string]int
}

func (m *meter) read() reading {
	m.mu.Lock()
	defer m.mu.Unlock()
	return reading{m.bytes, maps.Clone(m.records)}
}

// since is what came between two readings.
func (r reading) since(before reading) reading {
	between := reading{r.bytes - before.bytes, map[string]int{}}
	for topic, n := range r.records {
		if n -= before.records[topic]; n > 0 {
			between.records[topic] = n
		}
	}
	return between
}
