package integration

import (
	"testing"
	"time"

	"github.com/duplex-go/duplex/internal/suite"
)

// The scenarios of the embedded broker, on real Kafka. Six seconds is the shortest
// session that a broker allows by default.
func TestConformance(t *testing.T) {
	t.Parallel()
	suite.Run(t, suite.Kafka{Cluster: cluster(t), Session: 6 * time.Second})
}
