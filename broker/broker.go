package broker

import (
	"crypto/tls"
	"fmt"
	"slices"
	"sync"

	"github.com/twmb/franz-go/pkg/kfake"
	"go.uber.org/zap"

	"github.com/duplex-go/duplex"
)

// Broker is a running broker. Its methods are safe for concurrent use.
type Broker struct {
	network *network
	kafka   *kfake.Cluster
	cluster duplex.Cluster

	stop     chan struct{} // closed by Close
	retained sync.WaitGroup

	mu     sync.Mutex // between Close and what reaches into kafka
	closed bool
}

// Start runs a broker until Close. It returns an error that names every problem
// of config, and one when the address cannot be listened on.
func Start(config Config) (*Broker, error) {
	b, err := start(config)
	if err != nil {
		return nil, fmt.Errorf("broker: starting: %w", err)
	}
	for _, t := range config.Topics {
		if err := b.CreateTopic(t); err != nil {
			b.Close()
			return nil, err
		}
	}
	return b, nil
}

func start(config Config) (*Broker, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	if config.Logger == nil {
		config.Logger = zap.NewNop()
	}
	config.Logger = config.Logger.Named("broker")
	host, port, err := listenAddress(config.Listen)
	if err != nil {
		return nil, err
	}
	server, client, err := secure(config.TLS)
	if err != nil {
		return nil, err
	}
	b := &Broker{network: newNetwork(host, port, server, config.Logger), stop: make(chan struct{})}
	if b.kafka, err = kfake.NewCluster(b.options(config)...); err != nil {
		return nil, err
	}
	limit(b.kafka)
	b.cluster = b.reach(config, client)
	if host != "" {
		b.retained.Go(b.retain)
	}
	return b, nil
}

func (b *Broker) options(config Config) []kfake.Opt {
	configs := config.Configs
	if config.Listen != "" {
		configs = withRetention(configs)
	}
	opts := []kfake.Opt{
		kfake.NumBrokers(max(config.Brokers, 1)),
		kfake.ClusterID("duplex-broker"),
		kfake.ListenFn(b.network.listen),
		kfake.DefaultNumPartitions(1),
		kfake.BrokerConfigs(configs),
		kfake.WithLogger(logger{config.Logger.Sugar()}),
	}
	if len(config.Users) > 0 {
		opts = append(opts, kfake.EnableSASL())
	}
	for _, u := range config.Users {
		opts = append(opts, kfake.Superuser(string(u.Mechanism), u.Name, string(u.Password)))
	}
	return opts
}

// reach makes what clients need to reach the broker.
func (b *Broker) reach(config Config, client *tls.Config) duplex.Cluster {
	c := duplex.Cluster{Brokers: b.network.addresses()}
	if b.network.host == "" {
		c.Dial = b.network.virtual.DialContext
	}
	if client != nil {
		c.TLS = &duplex.TLS{Config: client}
	}
	if len(config.Users) > 0 {
		u := config.Users[0]
		c.SASL = &duplex.SASL{Mechanism: u.Mechanism, Username: u.Name, Password: u.Password}
	}
	return c
}

// Cluster returns what every component of Duplex needs to use this broker: its
// addresses, how to dial it, the certificate to trust, and the credentials of
// the first user. The caller may change the value it gets, not what it points
// to.
func (b *Broker) Cluster() duplex.Cluster {
	c := b.cluster
	c.Brokers = slices.Clone(c.Brokers)
	return c
}

// Addrs returns the "host:port" of every node that listens; none after Close.
func (b *Broker) Addrs() []string { return b.network.addresses() }

// CreateTopic makes a topic. The error has code duplex.ErrInvalidTopic when its
// name is not legal, and duplex.ErrClosed after Close; a topic that exists
// already is an error.
func (b *Broker) CreateTopic(t Topic) error {
	if err := t.validate(); err != nil {
		return fmt.Errorf("broker: creating a topic: %w", err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	op := fmt.Sprintf("broker: creating topic %q", t.Name)
	if b.closed {
		return &duplex.Error{Op: op, Codes: []duplex.Code{duplex.ErrClosed}}
	}
	if err := b.kafka.CreateTopic(t.Name, max(t.Partitions, 1), t.Configs); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	return nil
}

// Refused counts the connections that were closed because they did not speak
// Kafka: junk on the port, a wrong certificate, or too many of them.
func (b *Broker) Refused() int64 { return b.network.refused.Load() }

// Kfake returns the fake cluster behind the broker, for what tests do to it:
// faults, moved leaders, expired sessions, looks at a group. It belongs to
// franz-go: what it offers may change with any release, and Duplex promises
// nothing about it. Do not close it, and do not use it after Close.
func (b *Broker) Kfake() *kfake.Cluster { return b.kafka }

// Close ends the broker, its connections and its data. It may be called any
// number of times and always returns nil.
func (b *Broker) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil
	}
	b.closed = true
	close(b.stop)
	b.retained.Wait() // before kafka ends: it would wait for an answer for ever
	b.kafka.Close()
	b.network.close()
	return nil
}
