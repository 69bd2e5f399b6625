package broker

import (
	"maps"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"go.uber.org/zap"
)

const (
	retentionBytes = "67108864" // 64 MiB
	segmentBytes   = "8388608"  // memory is given back by the segment

	// retentionInterval is short, because a busy producer writes hundreds of
	// megabytes a second and everything is in memory.
	retentionInterval = time.Second
)

// withRetention adds to the configurations of a broker that may be left running
// what bounds its memory.
func withRetention(configs map[string]string) map[string]string {
	bounded := map[string]string{"log.retention.bytes": retentionBytes, "log.segment.bytes": segmentBytes}
	maps.Copy(bounded, configs)
	return bounded
}

// retain deletes what the retention configurations say until Close: kfake does
// so by itself once an hour, and only if a topic has a retention of its own.
func (b *Broker) retain() {
	ticker := time.NewTicker(retentionInterval)
	defer ticker.Stop()
	for {
		select {
		case <-b.stop:
			return
		case <-ticker.C:
			b.kafka.ApplyRetention()
		}
	}
}

// logger hands kfake's messages to zap. kfake's info is what others call debug.
type logger struct{ to *zap.SugaredLogger }

// Logf implements kfake.Logger.
func (l logger) Logf(level kfake.LogLevel, format string, args ...any) {
	switch level {
	case kfake.LogLevelError:
		l.to.Errorf(format, args...)
	case kfake.LogLevelWarn:
		l.to.Warnf(format, args...)
	case kfake.LogLevelInfo, kfake.LogLevelDebug, kfake.LogLevelNone:
		l.to.Debugf(format, args...)
	}
}
