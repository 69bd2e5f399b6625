package broker

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"

	"go.uber.org/zap"

	"github.com/duplex-go/duplex"
)

// Config says what to run. Its zero value is one node without topics, reachable
// only from inside the process.
type Config struct {
	// Topics exist when Start returns. Defaults to none; more can be made with
	// CreateTopic, or by clients. Producing to a topic never creates it.
	Topics []Topic

	// Brokers is the number of nodes, 1 to 64. Defaults to 1.
	Brokers int

	// Listen is the loopback address to serve on, such as "127.0.0.1:9092";
	// further nodes take the ports that follow. Port 0 gives every node a free
	// one. Any address that other machines could reach is refused. Defaults to
	// no port at all: a network inside the process.
	Listen string

	// TLS, when set, encrypts every connection. With no certificate in it, one
	// for localhost is made at start, valid for a year. Broker.Cluster trusts
	// the certificates; where this asks clients for theirs, the caller adds one
	// to what Cluster returns. It needs Listen: inside the process there is
	// nothing to encrypt. Defaults to plain text.
	TLS *tls.Config

	// Users, when there are any, must authenticate, each with the mechanism it
	// names. All of them may do everything. Defaults to none: no
	// authentication.
	Users []User

	// Configs are broker configurations by their Kafka names, such as
	// "message.max.bytes" or "group.min.session.timeout.ms". With Listen,
	// "log.retention.bytes" defaults to 64 MiB a partition, so that a forgotten
	// broker does not fill the memory, and the log is cut in segments of an
	// eighth of that. Without Listen nothing is ever deleted by default.
	Configs map[string]string

	// Logger receives what the broker has to say. Defaults to none.
	Logger *zap.Logger
}

// Topic is a topic to create.
type Topic struct {
	// Name is required; duplex.ValidateTopicName has the rule.
	Name string
	// Partitions is their number, 1 to 10,000. Defaults to 1.
	Partitions int32
	// Configs are topic configurations by their Kafka names, such as
	// "cleanup.policy" or "max.message.bytes". Defaults to the broker's.
	Configs map[string]string
}

// User may connect to a broker that asks for authentication.
type User struct {
	// Mechanism is duplex.SASLPlain, SASLScramSHA256 or SASLScramSHA512.
	// Required.
	Mechanism duplex.SASLMechanism
	// Name and Password are required.
	Name     string
	Password duplex.Secret
}

const (
	maxNodes      = 64
	maxPartitions = 10_000
)

// Validate reports every problem of c at once, each naming its field, value and
// rule. Start calls it.
func (c Config) Validate() error {
	var errs []error
	if c.Brokers < 0 || c.Brokers > maxNodes {
		errs = append(errs, fmt.Errorf("Config.Brokers = %d: want 1 to %d, or 0 for 1", c.Brokers, maxNodes))
	}
	if _, _, err := listenAddress(c.Listen); err != nil {
		errs = append(errs, fmt.Errorf("Config.Listen = %q: %w", c.Listen, err))
	}
	if c.TLS != nil && c.Listen == "" {
		errs = append(errs, errors.New(`Config.TLS is set, but not Config.Listen: set it too, such as to "127.0.0.1:0"`))
	}
	seen := map[string]bool{}
	for i, t := range c.Topics {
		if err := t.validate(); err != nil {
			errs = append(errs, fmt.Errorf("Config.Topics[%d]: %w", i, err))
		}
		if seen[t.Name] {
			errs = append(errs, fmt.Errorf("Config.Topics[%d].Name = %q: listed twice", i, t.Name))
		}
		seen[t.Name] = true
	}
	for i, u := range c.Users {
		if err := u.validate(); err != nil {
			errs = append(errs, fmt.Errorf("Config.Users[%d]: %w", i, err))
		}
	}
	return errors.Join(errs...)
}

func (t Topic) validate() error {
	var errs []error
	if err := duplex.ValidateTopicName(t.Name); err != nil {
		errs = append(errs, err)
	}
	if t.Partitions < 0 || t.Partitions > maxPartitions {
		errs = append(errs, fmt.Errorf("Topic.Partitions = %d of %q: want 1 to %d, or 0 for 1", t.Partitions, t.Name, maxPartitions))
	}
	return errors.Join(errs...)
}

func (u User) validate() error {
	var errs []error
	switch u.Mechanism {
	case duplex.SASLPlain, duplex.SASLScramSHA256, duplex.SASLScramSHA512:
	case duplex.SASLOAuthBearer:
		errs = append(errs, errors.New("User.Mechanism: OAUTHBEARER is not available here"))
	default:
		errs = append(errs, fmt.Errorf("User.Mechanism = %q: want %s, %s or %s",
			u.Mechanism, duplex.SASLPlain, duplex.SASLScramSHA256, duplex.SASLScramSHA512))
	}
	if u.Name == "" {
		errs = append(errs, errors.New("User.Name is empty"))
	}
	if u.Password == "" {
		errs = append(errs, errors.New("User.Password is empty"))
	}
	return errors.Join(errs...)
}

// listenAddress splits and judges Config.Listen. The host is "" when it is
// empty.
func listenAddress(listen string) (host string, port int, err error) {
	if listen == "" {
		return "", 0, nil
	}
	host, service, err := net.SplitHostPort(listen)
	if err != nil {
		return "", 0, errors.New("want host:port, such as 127.0.0.1:9092")
	}
	port, err = strconv.Atoi(service)
	if err != nil || port < 0 || port > 65535 {
		return "", 0, fmt.Errorf("port %q is not a number from 0 to 65535", service)
	}
	if host == "localhost" {
		return "127.0.0.1", port, nil
	}
	ip, err := netip.ParseAddr(host)
	if err != nil || !ip.IsLoopback() {
		return "", 0, errors.New("this broker is for development only and listens on the loopback interface alone: use 127.0.0.1, [::1] or localhost")
	}
	return ip.String(), port, nil
}
