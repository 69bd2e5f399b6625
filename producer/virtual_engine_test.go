//go:build synctests

package producer_test

import (
	"errors"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/producer"
)

// Tests of docs/engine-rules.md.

// Callers who waited for room are let in together, in any order; each still ends
// at its own deadline.
func TestVirtualDeadlinesHoldForThoseWhoWaitedForRoom(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		p := w.producer(producer.Config{Timeout: 10 * time.Second, MaxBufferedRecords: 8})
		_, err := p.Publish(t.Context(), record("warm"))
		require.NoError(t, err)
		w.hang(w.cluster.Brokers[0])
		for range 8 {
			p.PublishAsync(t.Context(), record("fills the buffer"), func(duplex.Position, error) {})
		}
		var waiting sync.WaitGroup
		for range 8 {
			time.Sleep(time.Second)
			waiting.Go(func() {
				began := time.Now()
				_, err := p.Publish(t.Context(), record("waits for room"))
				if err == nil || time.Since(began) != 10*time.Second {
					t.Errorf("ended after %s: %v", time.Since(began), err)
				}
			})
		}
		waiting.Wait()
		w.heal(w.cluster.Brokers[0])
		require.NoError(t, p.Close())
	})
}

// Rule 23: the answer of a broker that no longer leads the partition has no hint
// at who does.
func TestVirtualLeaderThatMovedCostsAMoment(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		p := w.producer(producer.Config{})
		_, err := p.Publish(t.Context(), record("first"))
		require.NoError(t, err)
		w.kafka.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.NotLeaderForPartition, Count: 1})
		began := time.Now()
		_, err = p.Publish(t.Context(), record("second"))
		require.NoError(t, err)
		require.Less(t, time.Since(began), time.Second)
		require.NoError(t, p.Close())
	})
}

// Rule 38: a broker is away in a way that is not a refused connection, such as
// behind a proxy that goes on accepting them. Nothing that waits for it, or for
// another broker, is refused.
func TestVirtualBrokerThatIsAwayRefusesNothing(t *testing.T) {
	for name, away := range map[string]func() (net.Conn, error){
		"behind a proxy": func() (net.Conn, error) {
			conn, _ := net.Pipe()
			return endsAtOnce{conn}, nil
		},
		"behind a dial function with errors of its own": func() (net.Conn, error) { return nil, errors.New("no such tunnel") },
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, 3, func(t *testing.T, w *world) {
				p := w.producer(producer.Config{})
				var stored int
				flow := func(d time.Duration) {
					for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(time.Millisecond) {
						r := record("v")
						r.Key = strconv.AppendInt(nil, time.Now().UnixMilli()%100, 10)
						p.PublishAsync(t.Context(), r, func(_ duplex.Position, err error) {
							require.NoError(t, err)
							stored++
						})
					}
				}
				for _, address := range w.cluster.Brokers {
					flow(time.Second)
					w.leave(address, away)
					flow(5 * time.Second)
					w.comeBack(address)
				}
				require.NoError(t, p.Close())
				require.Len(t, w.log("orders"), stored)
			})
		})
	}
}

// Rule 25: whoever waits for one record at a time waits for the broker alone.
func TestVirtualNothingLingersForOneCaller(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		p := w.producer(producer.Config{Linger: time.Second})
		_, err := p.Publish(t.Context(), record("warm"))
		require.NoError(t, err)
		began := time.Now()
		for i := range 100 {
			_, err := p.Publish(t.Context(), record(strconv.Itoa(i)))
			require.NoError(t, err)
		}
		require.Zero(t, time.Since(began))
		require.NoError(t, p.Close())
	})
}

// Rule 27: keys go where Java's default partitioner sends them. The hashes are
// those of Kafka's own test, org.apache.kafka.common.utils.UtilsTest.
func TestVirtualKeysGoWhereJavaSendsThem(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		p := w.producer(producer.Config{})
		for key, hash := range map[string]int32{
			"21":                         -973932308,
			"foobar":                     -790332482,
			"a-little-bit-long-string":   -985981536,
			"a-little-bit-longer-string": -1486304829,
			"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
			"abc": 479470107,
		} {
			at, err := p.Publish(t.Context(), &kgo.Record{Topic: "orders", Key: []byte(key)})
			require.NoError(t, err)
			require.Equal(t, (hash&0x7fffffff)%6, at.Partition, key)
		}
		require.NoError(t, p.Close())
	})
}
