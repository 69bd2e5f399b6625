package producer

import (
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"

	"github.com/duplex-go/duplex"
)

// Defaults of Config.
const (
	DefaultLinger             = 5 * time.Millisecond
	DefaultTimeout            = 30 * time.Second
	DefaultMaxBufferedRecords = 50_000
	DefaultMaxBufferedBytes   = 64 << 20
	DefaultMaxRecordBytes     = 1_000_012 // the broker's default max.message.bytes, less a batch's own bytes
)

// NoLinger as Config.Linger hands every record to Kafka at once.
const NoLinger time.Duration = -1

// Compression is how batches of records are compressed.
type Compression string

// The compressions.
const (
	Snappy        Compression = "snappy"
	Gzip          Compression = "gzip"
	LZ4           Compression = "lz4"
	Zstd          Compression = "zstd"
	NoCompression Compression = "none"
)

// Config describes a producer. Cluster is required; the zero value of every
// other field works.
type Config struct {
	// Cluster is the Kafka to publish to.
	Cluster duplex.Cluster

	// Linger is how long a record may wait for company while others are not
	// acknowledged yet. A record that finds nothing under way goes at once, and
	// those that came meanwhile go together as soon as that is acknowledged, or
	// enough of them are there; Linger only bounds the wait where the broker is
	// slow. NoLinger turns all waiting off, for many small requests. Defaults to
	// 5 ms.
	Linger time.Duration

	// Timeout bounds a publish whose context ends later or not at all, and each
	// asynchronous one until its callback. Defaults to 30 s.
	Timeout time.Duration

	// MaxBufferedRecords and MaxBufferedBytes (keys, values and headers) bound
	// what was taken over and has not ended, callbacks included. Beyond them
	// Publish and PublishAsync wait and TryPublish refuses. A single record
	// larger than MaxBufferedBytes passes when nothing else is there. Default to
	// 50,000 records and 64 MiB.
	MaxBufferedRecords int
	MaxBufferedBytes   int64

	// MaxRecordBytes is the largest record to send, as the broker counts it: its
	// key, value and headers and some bytes for the batch, uncompressed. It must
	// not be larger than the topic's max.message.bytes: Kafka refuses a batch as
	// a whole, and records that travel with one which is too large are refused
	// with it. Defaults to 1,000,012.
	MaxRecordBytes int32

	// Compression of batches. Defaults to Snappy.
	Compression Compression

	// Prepare sees each record before it is sent and may change it: to add
	// headers, say. An error refuses the record with code [duplex.ErrEncode]. It
	// runs on the goroutine of the caller, so it must be safe for concurrent
	// use. Defaults to none.
	Prepare func(r *kgo.Record) error

	// TracerProvider and MeterProvider get spans and metrics, as OpenTelemetry's
	// conventions for messaging have them; the context of a record's span
	// goes along in its headers traceparent and tracestate.
	// Default to none, which costs nothing.
	TracerProvider trace.TracerProvider
	MeterProvider  metric.MeterProvider

	// Logger gets what nobody else is told: failures of asynchronous publishes
	// without a callback, and answers that came after their deadline. Defaults to
	// none.
	Logger *zap.Logger
}

func (c Config) withDefaults() Config {
	if c.Linger == 0 {
		c.Linger = DefaultLinger
	}
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	if c.MaxBufferedRecords == 0 {
		c.MaxBufferedRecords = DefaultMaxBufferedRecords
	}
	if c.MaxBufferedBytes == 0 {
		c.MaxBufferedBytes = DefaultMaxBufferedBytes
	}
	if c.MaxRecordBytes == 0 {
		c.MaxRecordBytes = DefaultMaxRecordBytes
	}
	if c.Compression == "" {
		c.Compression = Snappy
	}
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	return c
}

// leastRecordBytes is what a batch with one small record needs.
const leastRecordBytes = 1024

// Validate reports every problem of c at once, each naming its field, value and
// rule. New calls it.
func (c Config) Validate() error {
	errs := []error{c.Cluster.Validate()}
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.Linger < 0 && c.Linger != NoLinger {
		bad("Linger = %s: must not be negative; NoLinger turns it off", c.Linger)
	}
	if c.Timeout < 0 {
		bad("Timeout = %s: must not be negative", c.Timeout)
	}
	if c.Timeout > 0 && c.Linger > c.Timeout {
		bad("Linger = %s: must not be longer than Timeout = %s", c.Linger, c.Timeout)
	}
	if c.MaxBufferedRecords < 0 {
		bad("MaxBufferedRecords = %d: must not be negative", c.MaxBufferedRecords)
	}
	if c.MaxBufferedBytes < 0 {
		bad("MaxBufferedBytes = %d: must not be negative", c.MaxBufferedBytes)
	}
	if c.MaxRecordBytes < 0 || (c.MaxRecordBytes > 0 && c.MaxRecordBytes < leastRecordBytes) {
		bad("MaxRecordBytes = %d: must be at least %d", c.MaxRecordBytes, leastRecordBytes)
	}
	if _, err := c.withDefaults().codec(); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (c Config) codec() (kgo.CompressionCodec, error) {
	switch c.Compression {
	case Snappy:
		return kgo.SnappyCompression(), nil
	case Gzip:
		return kgo.GzipCompression(), nil
	case LZ4:
		return kgo.Lz4Compression(), nil
	case Zstd:
		return kgo.ZstdCompression(), nil
	case NoCompression:
		return kgo.NoCompression(), nil
	default:
		return kgo.NoCompression(), fmt.Errorf("Compression = %q: want %s, %s, %s, %s or %s", c.Compression, Snappy, Gzip, LZ4, Zstd, NoCompression)
	}
}
