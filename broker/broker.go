package broker

import (
	"crypto/tls"
	"fmt"
	"maps"
	"sync"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/duplex-go/duplex"
)

// Broker is a running broker. Its methods are safe for concurrent use.
type Broker struct {
	config  Config
	network *network
	kafka   *kfake.Cluster
	cluster duplex.Cluster

	mu     sync.Mutex // serializes what reaches into kafka with Close
	closed bool
}

// Start runs a broker until Close. It returns an error that names every problem
// of config, and one when the address cannot be listened on.
func Start(config Config) (*Broker, error) {
	if err := config.Validate(); err != nil {
		return nil, fmt.Errorf("broker: starting: %w", err)
	}
	host, port, _ := listenAddress(config.Listen) //nolint:errcheck // Validate asked before
	b := &Broker{config: config, network: newNetwork(host, port, config.TLS)}
	kafka, err := kfake.NewCluster(b.options()...)
	if err != nil {
		return nil, fmt.Errorf("broker: starting: %w", err)
	}
	b.kafka = kafka
	b.cluster = b.reach()
	for _, t := range config.Topics {
		if err := b.CreateTopic(t); err != nil {
			b.Close()
			return nil, err
		}
	}
	return b, nil
}

func (b *Broker) options() []kfake.Opt {
	nodes := max(b.config.Brokers, 1)
	opts := []kfake.Opt{
		kfake.NumBrokers(nodes),
		kfake.ClusterID("duplex-broker"),
		kfake.ListenFn(b.network.listen),
		kfake.DefaultNumPartitions(1),
		kfake.BrokerConfigs(maps.Clone(b.config.Configs)),
	}
	if len(b.config.Users) > 0 {
		opts = append(opts, kfake.EnableSASL())
		for _, u := range b.config.Users {
			opts = append(opts, kfake.Superuser(string(u.Mechanism), u.Name, string(u.Password)))
		}
	}
	return opts
}

// reach makes what clients need to reach the broker.
func (b *Broker) reach() duplex.Cluster {
	c := duplex.Cluster{Brokers: b.network.addresses()}
	if b.network.host == "" {
		c.Dial = b.network.virtual.DialContext
	}
	if b.config.TLS != nil {
		c.TLS = &duplex.TLS{Config: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // replaced soon
	}
	if len(b.config.Users) > 0 {
		u := b.config.Users[0]
		c.SASL = &duplex.SASL{Mechanism: u.Mechanism, Username: u.Name, Password: u.Password}
	}
	return c
}

// Cluster returns what every component of Duplex needs to use this broker: its
// addresses, how to dial it, the certificate to trust, and the credentials of
// the first user. The caller may change the copy it gets.
func (b *Broker) Cluster() duplex.Cluster { return b.cluster }

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
	b.kafka.Close()
	b.network.close()
	return nil
}
