// Package kafka is the only place that turns a duplex.Cluster into a Kafka
// client, and the only one that reads Kafka's error codes.
package kafka

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/oauth"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
	"github.com/twmb/franz-go/plugin/kzap"
	"go.uber.org/zap"

	"github.com/duplex-go/duplex"
)

const (
	defaultClientID    = "duplex"
	defaultDialTimeout = 10 * time.Second

	// metadataMinAge: kgo's default of 5 s stalls a partition for 5 s after one
	// NOT_LEADER answer without a hint (engine rule 23).
	metadataMinAge = 200 * time.Millisecond

	// idleTimeout keeps connections warm between bursts.
	idleTimeout = 5 * time.Minute
)

// Validate reports what keeps NewClient from making a client for c. It reads the
// files that c names, and dials nothing.
func Validate(c duplex.Cluster) error {
	_, err := allOptions(c, nil, nil)
	return err
}

// NewClient makes a client for c. It validates and reads files, but dials
// nothing. The component's own options weigh more than c.KafkaOptions.
func NewClient(c duplex.Cluster, log *zap.Logger, component ...kgo.Opt) (*kgo.Client, error) {
	opts, err := allOptions(c, log, component)
	if err != nil {
		return nil, err
	}
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		return nil, fmt.Errorf("kafka: making a client: %w", err)
	}
	return cl, nil
}

func allOptions(c duplex.Cluster, log *zap.Logger, component []kgo.Opt) ([]kgo.Opt, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if err := refuseOwned(c.KafkaOptions); err != nil {
		return nil, err
	}
	base, err := options(c, log)
	if err != nil {
		return nil, err
	}
	base = append(base, c.KafkaOptions...)
	if err := kgo.ValidateOpts(base...); err != nil {
		return nil, fmt.Errorf("kafka: applying Cluster.KafkaOptions: %w", err)
	}
	return append(base, component...), nil
}

func options(c duplex.Cluster, log *zap.Logger) ([]kgo.Opt, error) {
	id := c.ClientID
	if id == "" {
		id = defaultClientID
	}
	opts := []kgo.Opt{
		kgo.SeedBrokers(c.Brokers...),
		kgo.ClientID(id),
		kgo.MetadataMinAge(metadataMinAge),
		kgo.ConnIdleTimeout(idleTimeout),
		kgo.DisableClientMetrics(), // KIP-714 pushes would be requests nobody asked for
	}
	if log != nil {
		opts = append(opts, kgo.WithLogger(kzap.New(log.Named("kafka"))))
	}
	dial, err := dialer(c)
	if err != nil {
		return nil, err
	}
	mechanism, err := authentication(c.SASL)
	if err != nil {
		return nil, err
	}
	if mechanism != nil {
		opts = append(opts, kgo.SASL(mechanism))
	}
	return append(opts, kgo.Dialer(dial)), nil
}

type dialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

func dialer(c duplex.Cluster) (dialFunc, error) {
	timeout := c.DialTimeout
	if timeout == 0 {
		timeout = defaultDialTimeout
	}
	dial := c.Dial
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	var config *tls.Config
	if c.TLS != nil {
		var err error
		if config, err = tlsConfig(c.TLS); err != nil {
			return nil, err
		}
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		conn, err := dial(ctx, network, address)
		if err == nil && config != nil {
			conn, err = handshake(ctx, conn, config, address)
		}
		if err != nil {
			return nil, notDialed(network, err)
		}
		return conn, nil
	}, nil
}

// notDialed has kgo take whatever kept us from a broker for what it is: that broker
// is away, and another one may not be (engine rule 38). Of errors that net does not
// call one of dialing, as of TLS or of Cluster.Dial, it thinks that nothing helps.
func notDialed(network string, err error) error {
	if e, ok := errors.AsType[*net.OpError](err); ok && e.Op == "dial" {
		return err
	}
	return &net.OpError{Op: "dial", Net: network, Err: err}
}

// Dial opens a connection to a broker as a client of c does: within its timeout, and with TLS
// where c has it; then it is a *tls.Conn.
func Dial(ctx context.Context, c duplex.Cluster, address string) (net.Conn, error) {
	dial, err := dialer(c)
	if err != nil {
		return nil, err
	}
	return dial(ctx, "tcp", address)
}

func handshake(ctx context.Context, conn net.Conn, config *tls.Config, address string) (net.Conn, error) {
	if config.ServerName == "" {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, errors.Join(err, conn.Close())
		}
		config = config.Clone()
		config.ServerName = host
	}
	secured := tls.Client(conn, config)
	if err := secured.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return secured, nil
}

func tlsConfig(t *duplex.TLS) (*tls.Config, error) {
	if t.Config != nil {
		return t.Config.Clone(), nil
	}
	config := &tls.Config{
		MinVersion: tls.VersionTLS12,
		ServerName: t.ServerName,
		//nolint:gosec // G402: the field's documentation says what it is for
		InsecureSkipVerify: t.InsecureSkipVerify,
	}
	if t.CAFile != "" {
		pem, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, fmt.Errorf("kafka: reading Cluster.TLS.CAFile: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("kafka: reading Cluster.TLS.CAFile %q: no PEM certificate in it", t.CAFile)
		}
	}
	if t.CertFile != "" {
		if _, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile); err != nil {
			return nil, fmt.Errorf("kafka: reading Cluster.TLS.CertFile and KeyFile: %w", err)
		}
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			cert, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
			return &cert, err
		}
	}
	return config, nil
}

func authentication(s *duplex.SASL) (sasl.Mechanism, error) {
	if s == nil {
		return nil, nil //nolint:nilnil // no credentials is not an error
	}
	user, pass := s.Username, string(s.Password)
	switch s.Mechanism {
	case duplex.SASLPlain:
		return plain.Auth{User: user, Pass: pass}.AsMechanism(), nil
	case duplex.SASLScramSHA256:
		return scram.Auth{User: user, Pass: pass}.AsSha256Mechanism(), nil
	case duplex.SASLScramSHA512:
		return scram.Auth{User: user, Pass: pass}.AsSha512Mechanism(), nil
	case duplex.SASLOAuthBearer:
		return oauth.Oauth(func(ctx context.Context) (oauth.Auth, error) {
			token, err := s.Token(ctx)
			return oauth.Auth{Token: token}, err
		}), nil
	default:
		return nil, fmt.Errorf("kafka: unknown SASL mechanism %q", s.Mechanism)
	}
}
