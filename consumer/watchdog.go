package consumer

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/internal/kafka"
)

// watchEnds is how often the ends of the owned partitions are asked for: a fetch
// tells them too, but not when there is none.
const watchEnds = 10 * time.Second

// watchdog learns how far behind the partitions are, whether or not they are being
// read, and logs what Status would say when that changes: nobody may be asking.
func (e *engine) watchdog(ctx context.Context) {
	ticker := time.NewTicker(watchEnds)
	defer ticker.Stop()
	known := map[string]duplex.Problem{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		e.learnEnds(ctx)
		var s duplex.Status
		e.describe(&s)
		found := map[string]duplex.Problem{}
		for _, p := range s.Problems {
			if key := string(p.Code) + p.Subject; p.Code != duplex.StatusRetrying { // each failure is logged
				found[key] = p
				if _, ok := known[key]; !ok {
					e.log.Warn("something is not as it should be", zap.String("code", string(p.Code)), zap.String("detail", p.Detail))
				}
			}
		}
		for key, p := range known {
			if _, still := found[key]; !still {
				e.log.Info("it is as it should be again", zap.String("code", string(p.Code)), zap.String("was", p.Detail))
			}
		}
		known = found
	}
}

func (e *engine) learnEnds(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, watchEnds)
	defer cancel()
	byTopic := map[string][]*assignment{}
	for _, a := range e.all() {
		byTopic[a.topic] = append(byTopic[a.topic], a)
	}
	for topic, assignments := range byTopic {
		ends, err := kafka.CommittedEndOffsets(ctx, e.client, topic)
		if err != nil {
			return // polls report what is wrong
		}
		for _, a := range assignments {
			if end, ok := ends[a.partition]; ok {
				a.mu.Lock()
				a.end = max(a.end, end)
				a.mu.Unlock()
			}
		}
	}
}
