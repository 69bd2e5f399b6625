package dlq

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/zap"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/internal/kafka"
)

// InspectorConfig says where an Inspector reads.
type InspectorConfig struct {
	// Cluster is where the queues are. Required.
	Cluster duplex.Cluster
	// Logger gets what is said besides results. Defaults to none.
	Logger *zap.Logger
	// Timeout is how long the cluster may take to answer at all, and how long a scan
	// may stand still. Defaults to 30 s.
	Timeout time.Duration
}

// Validate reports what is wrong with c. It dials nothing.
func (c InspectorConfig) Validate() error {
	if c.Timeout < 0 {
		return fmt.Errorf("InspectorConfig.Timeout = %s: must not be negative", c.Timeout)
	}
	return kafka.Validate(c.Cluster)
}

const defaultInspectorTimeout = 30 * time.Second

// Inspector reads dead-letter queues, whoever wrote them. It writes nothing, commits
// nothing and joins no group. It may be used by many goroutines at once.
type Inspector struct {
	cfg    InspectorConfig
	log    *zap.Logger
	client *kgo.Client // for questions; each scan has one of its own

	reached atomic.Bool
}

// NewInspector makes an Inspector. It validates, and dials nothing.
func NewInspector(cfg InspectorConfig) (*Inspector, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("dlq: checking InspectorConfig: %w", err)
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = defaultInspectorTimeout
	}
	i := &Inspector{cfg: cfg, log: cfg.Logger}
	if i.log == nil {
		i.log = zap.NewNop()
	}
	var err error
	if i.client, err = kafka.NewClient(cfg.Cluster, cfg.Logger); err != nil {
		return nil, fmt.Errorf("dlq: %w", err)
	}
	return i, nil
}

// reach makes sure that the cluster answers at all, the first time: what is asked of one that
// does not ends late, and says less.
func (i *Inspector) reach(ctx context.Context) error {
	if i.reached.Load() {
		return nil
	}
	if err := kafka.Reach(ctx, i.client, "dlq", i.cfg.Timeout); err != nil {
		return err
	}
	i.reached.Store(true)
	return nil
}

// Close ends the connections. Scans under way end with an error.
func (i *Inspector) Close() { i.client.Close() }
