package telemetry

import (
	"slices"
	"sync"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// maxTopics bounds what is remembered of topics.
const maxTopics = 1000

// sets are the attributes of metrics for each topic, made once: making them is most
// of what a metric costs.
type sets struct {
	common []attribute.KeyValue
	mu     sync.RWMutex
	made   map[string]metric.MeasurementOption
}

func newSets(common ...attribute.KeyValue) *sets {
	return &sets{common: common, made: map[string]metric.MeasurementOption{}}
}

func (s *sets) of(topic, failed string) metric.MeasurementOption {
	if failed != "" {
		return s.build(topic, keyErrorType.String(failed))
	}
	s.mu.RLock()
	option, ok := s.made[topic]
	s.mu.RUnlock()
	if ok {
		return option
	}
	option = s.build(topic)
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.made) < maxTopics {
		s.made[topic] = option
	}
	return option
}

func (s *sets) build(topic string, more ...attribute.KeyValue) metric.MeasurementOption {
	all := slices.Concat(s.common, more)
	if topic != "" {
		all = append(all, keyTopic.String(topic))
	}
	return metric.WithAttributeSet(attribute.NewSet(all...))
}
