package push

import (
	"strconv"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex/internal/app/shell"
)

const headerPrefix = "KAFKA_HEADER_"

// ownVariables are what a record has, or may have, beside its headers.
func ownVariables() []string {
	return []string{
		"KAFKA_TOPIC", "KAFKA_PARTITION", "KAFKA_OFFSET", "KAFKA_TIMESTAMP", "KAFKA_ATTEMPT",
		"KAFKA_KEY", "KAFKA_KEY_B64", "KAFKA_VALUE_NULL", "TRACEPARENT", "TRACESTATE",
	}
}

// inherited is environ without what belongs to records.
func inherited(environ []string) []string {
	return shell.Inherited(environ, ownVariables(), headerPrefix)
}

// environment adds what a command is told of its record to base. An error means
// that no command can be told.
func environment(base []string, r *kgo.Record, attempt int) ([]string, error) {
	own := []string{
		"KAFKA_TOPIC=" + r.Topic,
		"KAFKA_PARTITION=" + strconv.Itoa(int(r.Partition)),
		"KAFKA_OFFSET=" + strconv.FormatInt(r.Offset, 10),
		"KAFKA_TIMESTAMP=" + strconv.FormatInt(r.Timestamp.UnixMilli(), 10),
		"KAFKA_ATTEMPT=" + strconv.Itoa(attempt),
	}
	if r.Value == nil {
		own = append(own, "KAFKA_VALUE_NULL=1")
	}
	if r.Key != nil {
		own = append(own, shell.Variable("KAFKA_KEY", r.Key))
	}
	return shell.Environ(base, own, headerPrefix, r.Headers)
}
