package duplex

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Cluster says which Kafka to talk to and how. One value serves every component
// of a program; nothing is dialled until a component is used.
type Cluster struct {
	// Brokers are "host:port" addresses to find the cluster by; one that
	// answers is enough. Required.
	Brokers []string

	// ClientID is how this program appears in the broker's logs, quotas and
	// metrics. Defaults to "duplex".
	ClientID string

	// TLS, when set, encrypts every connection. Defaults to plain TCP.
	TLS *TLS

	// SASL, when set, authenticates every connection. Defaults to none.
	SASL *SASL

	// DialTimeout bounds the opening of one connection, its TLS handshake
	// included. Defaults to 10 s.
	DialTimeout time.Duration

	// Dial replaces how connections are opened, for proxies, and for embedded
	// brokers without a socket. With TLS, the handshake runs on what it
	// returns. Defaults to net.Dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	// KafkaOptions are handed to every Kafka client that a component makes, after
	// Duplex's own. Options
	// that a promise of Duplex rests on (acks, idempotence, the group and its
	// callbacks, start and reset offsets, …) are refused by New with an error
	// that names them; so is one for which Duplex has a field. A hook must not keep a
	// record that Duplex makes itself (for a failed one, a request, a reply): its
	// memory is used again.
	KafkaOptions []kgo.Opt
}

// TLS describes encryption and, with a certificate of our own, mutual
// authentication. The zero value uses the system's roots.
type TLS struct {
	// CAFile is a PEM file with the authorities to trust. Defaults to the
	// system's.
	CAFile string
	// CertFile and KeyFile are PEM files with our certificate and its key, for
	// clusters that ask for one. Both or neither. They are read again for every
	// new connection, so a renewed certificate needs no restart.
	CertFile, KeyFile string
	// ServerName is the name to expect in the broker's certificate. Defaults to
	// the host that was dialled.
	ServerName string
	// InsecureSkipVerify accepts any certificate. Only for tests.
	InsecureSkipVerify bool
	// Config, when set, is used as it is, and the fields above must be empty.
	Config *tls.Config
}

// SASLMechanism is how to authenticate.
type SASLMechanism string

// The mechanisms.
const (
	SASLPlain       SASLMechanism = "PLAIN"         // RFC 4616; use it with TLS only
	SASLScramSHA256 SASLMechanism = "SCRAM-SHA-256" // RFC 5802, RFC 7677
	SASLScramSHA512 SASLMechanism = "SCRAM-SHA-512" // RFC 5802
	SASLOAuthBearer SASLMechanism = "OAUTHBEARER"   // RFC 7628, KIP-255
)

// SASL holds credentials.
type SASL struct {
	// Mechanism is required.
	Mechanism SASLMechanism
	// Username and Password are for PLAIN and SCRAM.
	Username string
	Password Secret
	// Token gives a bearer token for OAUTHBEARER; it is called for every new
	// connection and again when the session needs to be renewed (KIP-368).
	Token func(ctx context.Context) (string, error)
}

// Format implements fmt.Formatter without giving the password away: where a verb
// does not fit a pointer, as in "%s" of a Cluster, fmt shows what is behind it
// and asks no method of the Password.
func (s SASL) Format(f fmt.State, verb rune) {
	type shown SASL
	fmt.Fprintf(f, fmt.FormatString(f, verb), shown(s))
}

// Secret is a string that prints as "***" wherever it is formatted or
// marshalled; convert it to string to use it.
type Secret string

// String implements fmt.Stringer without giving the secret away.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return "***"
}

// GoString implements fmt.GoStringer without giving the secret away.
func (s Secret) GoString() string { return strconv.Quote(s.String()) }

// Format implements fmt.Formatter without giving the secret away: fmt would
// ask neither of the above where the verb does not fit a string.
func (s Secret) Format(f fmt.State, verb rune) {
	fmt.Fprintf(f, fmt.FormatString(f, verb), s.String())
}

// MarshalText implements encoding.TextMarshaler without giving the secret away.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Validate reports every problem of c at once, each naming its field, value and
// rule. The New functions of all components call it.
func (c Cluster) Validate() error {
	var errs []error
	if len(c.Brokers) == 0 {
		errs = append(errs, errors.New("Cluster.Brokers is empty: name at least one host:port"))
	}
	for i, b := range c.Brokers {
		if err := validateAddress(b); err != nil {
			errs = append(errs, fmt.Errorf("Cluster.Brokers[%d] = %q: %w", i, shorten(b), err))
		}
	}
	if c.DialTimeout < 0 {
		errs = append(errs, fmt.Errorf("Cluster.DialTimeout = %s: must not be negative", c.DialTimeout))
	}
	return errors.Join(append(errs, c.TLS.validate(), c.SASL.validate())...)
}

func validateAddress(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return errors.New("want host:port, such as 127.0.0.1:9092")
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		return fmt.Errorf("port %q is not a number from 1 to 65535", shorten(port))
	}
	if host == "" {
		return errors.New("the host is empty")
	}
	if strings.ContainsFunc(host, unicode.IsSpace) {
		return errors.New("there is a space in the host")
	}
	return nil
}

func (t *TLS) validate() error {
	if t == nil {
		return nil
	}
	if (t.CertFile == "") != (t.KeyFile == "") {
		return fmt.Errorf("Cluster.TLS.CertFile = %q, KeyFile = %q: set both or neither", t.CertFile, t.KeyFile)
	}
	named := t.CAFile != "" || t.CertFile != "" || t.ServerName != "" || t.InsecureSkipVerify
	if t.Config != nil && named {
		return errors.New("Cluster.TLS.Config is set together with other fields of TLS: set it alone")
	}
	return nil
}

func (s *SASL) validate() error {
	if s == nil {
		return nil
	}
	var errs []error
	switch s.Mechanism {
	case SASLPlain, SASLScramSHA256, SASLScramSHA512:
		if s.Username == "" {
			errs = append(errs, fmt.Errorf("Cluster.SASL.Username is empty: %s needs one", s.Mechanism))
		}
		if s.Password == "" {
			errs = append(errs, fmt.Errorf("Cluster.SASL.Password is empty: %s needs one", s.Mechanism))
		}
	case SASLOAuthBearer:
		if s.Token == nil {
			errs = append(errs, fmt.Errorf("Cluster.SASL.Token is nil: %s needs one", s.Mechanism))
		}
	default:
		errs = append(errs, fmt.Errorf("Cluster.SASL.Mechanism = %q: want %s, %s, %s or %s",
			shorten(string(s.Mechanism)), SASLPlain, SASLScramSHA256, SASLScramSHA512, SASLOAuthBearer))
	}
	return errors.Join(errs...)
}
