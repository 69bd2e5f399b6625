package telemetry

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/duplex-go/duplex"
)

const (
	scope = "github.com/duplex-go/duplex"
	// maxWord bounds keys and types of errors, in bytes.
	maxWord = 80
	// errorPanic is the error.type of a handler that did not return.
	errorPanic = "panic"
)

// The names of the semantic conventions for messaging, and for Kafka.
const (
	keyErrorType   = attribute.Key("error.type")
	keyTopic       = attribute.Key("messaging.destination.name")
	keyPartition   = attribute.Key("messaging.destination.partition.id")
	keyGroup       = attribute.Key("messaging.consumer.group.name")
	keyOffset      = attribute.Key("messaging.kafka.offset")
	keyKey         = attribute.Key("messaging.kafka.message.key")
	keyTombstone   = attribute.Key("messaging.kafka.message.tombstone")
	keyBatchCount  = attribute.Key("messaging.batch.message_count")
	keyOperation   = attribute.Key("messaging.operation.name")
	keyOperationOf = attribute.Key("messaging.operation.type")
	keySystem      = attribute.Key("messaging.system")
	keyStatus      = attribute.Key("duplex.status.code") // ours: they have no word for it
)

// durations are the bounds of histograms, in seconds, as the conventions
// advise.
func durations() []float64 {
	return []float64{0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10}
}

func operation(name, kind string) []attribute.KeyValue {
	return []attribute.KeyValue{keySystem.String("kafka"), keyOperation.String(name), keyOperationOf.String(kind)}
}

// recordAttributes tell one record from others; they are for spans only.
func recordAttributes(to []attribute.KeyValue, r *kgo.Record) []attribute.KeyValue {
	if r.Key != nil && utf8.Valid(r.Key) {
		to = append(to, keyKey.String(cut(string(r.Key))))
	}
	if r.Value == nil {
		to = append(to, keyTombstone.Bool(true))
	}
	return to
}

func partition(p int32) attribute.KeyValue {
	return keyPartition.String(strconv.FormatInt(int64(p), 10))
}

// cut bounds a word without a character cut in two.
func cut(word string) string {
	if len(word) <= maxWord {
		return word
	}
	n := maxWord
	for n > maxWord-utf8.UTFMax && !utf8.RuneStart(word[n]) {
		n--
	}
	return word[:n]
}

// errorType is the error.type of err, "" if nothing went wrong: what a handler
// snoozes or drops is no failure.
func errorType(err error) string {
	switch duplex.VerdictOf(err).Kind {
	case duplex.VerdictHandled, duplex.VerdictSnooze, duplex.VerdictDrop:
		return ""
	default:
		return typeOf(err)
	}
}

// typeOf is the code of err, or the type of the first error in its chain that
// is not there to add words only.
func typeOf(err error) string {
	if code := duplex.CodeOf(err); code != "" {
		return strings.ToValidUTF8(cut(string(code)), "")
	}
	for {
		name := fmt.Sprintf("%T", err)
		cause := errors.Unwrap(err)
		if cause == nil || name != "*fmt.wrapError" && name != "*duplex.verdictError" {
			return cut(name)
		}
		err = cause
	}
}

// fail marks a span as failed; problem is an error.type.
func fail(span trace.Span, problem string, err error) {
	span.SetAttributes(keyErrorType.String(problem))
	text := problem
	if err != nil {
		text = err.Error()
	}
	const most = 1 << 10
	span.SetStatus(codes.Error, strings.ToValidUTF8(text[:min(len(text), most)], ""))
}
