package kafka_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/broker"
	"github.com/duplex-go/duplex/internal/kafka"
)

func TestClusterBecomesOptions(t *testing.T) {
	t.Parallel()
	cl := client(t, duplex.Cluster{Brokers: []string{"a:1", "b:2"}})
	require.Equal(t, []string{"a:1", "b:2"}, cl.OptValue(kgo.SeedBrokers))
	require.Equal(t, "duplex", cl.OptValue(kgo.ClientID))
	require.Equal(t, 200*time.Millisecond, cl.OptValue(kgo.MetadataMinAge))
	require.Equal(t, 5*time.Minute, cl.OptValue(kgo.ConnIdleTimeout))
	require.Equal(t, true, cl.OptValue(kgo.DisableClientMetrics))
	require.Empty(t, cl.OptValue(kgo.SASL))
	require.Equal(t, "boards", client(t, duplex.Cluster{Brokers: []string{"a:1"}, ClientID: "boards"}).OptValue(kgo.ClientID))

	for _, m := range []duplex.SASLMechanism{duplex.SASLPlain, duplex.SASLScramSHA256, duplex.SASLScramSHA512, duplex.SASLOAuthBearer} {
		cl := client(t, duplex.Cluster{Brokers: []string{"a:1"}, SASL: &duplex.SASL{Mechanism: m, Username: "ann", Password: "x", Token: token}})
		mechanisms := cl.OptValue(kgo.SASL).([]sasl.Mechanism)
		require.Len(t, mechanisms, 1)
		require.Equal(t, string(m), mechanisms[0].Name())
	}
}

func TestInvalidClusterIsRefused(t *testing.T) {
	t.Parallel()
	_, err := kafka.NewClient(duplex.Cluster{DialTimeout: -1}, nil)
	require.ErrorContains(t, err, "Cluster.Brokers is empty")
	require.ErrorContains(t, err, "Cluster.DialTimeout = -1ns")
}

func TestLogger(t *testing.T) {
	t.Parallel()
	core, logs := observer.New(zap.DebugLevel)
	cl, err := kafka.NewClient(duplex.Cluster{Brokers: []string{nobody(t)}}, zap.New(core).Named("duplex"))
	require.NoError(t, err)
	defer cl.Close()
	require.Error(t, kafka.Ping(soon(t), cl, "test"))
	require.NotEmpty(t, logs.All())
	require.Equal(t, "duplex.kafka", logs.All()[0].LoggerName)
}

func TestDialTimeout(t *testing.T) {
	t.Parallel()
	hung := func(ctx context.Context, _, _ string) (net.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	quiet := serve(t, silent) // takes the connection, and leaves the handshake unanswered
	for name, c := range map[string]duplex.Cluster{
		"plain":                 {Brokers: []string{"a:1"}, Dial: hung},
		"TLS":                   {Brokers: []string{"a:1"}, Dial: hung, TLS: &duplex.TLS{}},
		"during the handshake":  {Brokers: []string{quiet}, TLS: &duplex.TLS{}},
		"of a dialer of theirs": {Brokers: []string{quiet}, TLS: &duplex.TLS{}, Dial: (&net.Dialer{}).DialContext},
	} {
		c.DialTimeout = 50 * time.Millisecond
		begin := time.Now()
		require.ErrorIs(t, kafka.Ping(soon(t), client(t, c), "test"), duplex.ErrUnreachable, name)
		require.Less(t, time.Since(begin), 5*time.Second, name)
	}
}

func TestDial(t *testing.T) {
	t.Parallel()
	b := start(t, broker.Config{Listen: anyPort, TLS: &tls.Config{MinVersion: tls.VersionTLS12}})
	c := b.Cluster()
	dialled := make(chan string, 100)
	c.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		dialled <- address
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}
	require.NoError(t, kafka.Ping(soon(t), client(t, c), "test"), "the handshake runs on what Dial returns")
	require.Equal(t, b.Addrs()[0], <-dialled)
}

// Rule 38: for kgo, whatever keeps a client from a broker is an error of dialing.
func TestWhateverKeepsUsFromABrokerIsAnErrorOfDialing(t *testing.T) {
	t.Parallel()
	own := errors.New("no such tunnel")
	stranger := newIdentity(t, "stranger")
	secured := serve(t, func(conn net.Conn) {
		_ = tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{stranger.certificate}, MinVersion: tls.VersionTLS12}).HandshakeContext(t.Context())
	})
	for name, c := range map[string]duplex.Cluster{
		"a dial function's own": {Dial: func(context.Context, string, string) (net.Conn, error) { return nil, own }},
		"a certificate":         {TLS: &duplex.TLS{}},
		"net's": {Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, nobody(t))
		}},
	} {
		_, err := kafka.Dial(soon(t), c, secured)
		e, ok := errors.AsType[*net.OpError](err)
		require.True(t, ok, "%s: %v", name, err)
		require.Equal(t, "dial", e.Op, name)
		again, _ := errors.AsType[*net.OpError](e.Err)
		require.Nil(t, again, "%s: it is called one twice: %v", name, err)
	}
	_, err := kafka.Dial(soon(t), duplex.Cluster{Dial: func(context.Context, string, string) (net.Conn, error) { return nil, own }}, secured)
	require.ErrorIs(t, err, own)
}

// identity is a certificate that signed itself, and files of it.
type identity struct {
	certificate       tls.Certificate
	certFile, keyFile string
}

func newIdentity(t *testing.T, name string) identity {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{name}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	id := identity{certificate: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}}
	id.certificate.Leaf, err = x509.ParseCertificate(der)
	require.NoError(t, err)
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	id.certFile = write(t, "cert.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	id.keyFile = write(t, "key.pem", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}))
	return id
}

func write(t *testing.T, name string, text []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, text, 0o600))
	return path
}

func TestCertificateFiles(t *testing.T) {
	t.Parallel()
	server, ours, stranger := newIdentity(t, "kafka.example"), newIdentity(t, "ann"), newIdentity(t, "bob")
	trusted := x509.NewCertPool()
	trusted.AddCert(ours.certificate.Leaf)
	b := start(t, broker.Config{Listen: anyPort, TLS: &tls.Config{
		MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{server.certificate},
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: trusted,
	}})
	c := duplex.Cluster{Brokers: b.Addrs()}
	c.TLS = &duplex.TLS{CAFile: server.certFile, CertFile: ours.certFile, KeyFile: ours.keyFile}
	require.ErrorContains(t, kafka.Ping(soon(t), client(t, c), "test"), "check the server name")
	c.TLS = &duplex.TLS{InsecureSkipVerify: true, CertFile: ours.certFile, KeyFile: ours.keyFile}
	require.NoError(t, kafka.Ping(soon(t), client(t, c), "test"))
	c.TLS = &duplex.TLS{CAFile: server.certFile, ServerName: "kafka.example"}
	require.ErrorIs(t, kafka.Ping(soon(t), client(t, c), "test"), duplex.ErrUnreachable, "without a certificate of our own")

	// A certificate that is renewed is used for the next connection.
	certFile, keyFile := write(t, "cert.pem", read(t, stranger.certFile)), write(t, "key.pem", read(t, stranger.keyFile))
	c.TLS = &duplex.TLS{CAFile: server.certFile, ServerName: "kafka.example", CertFile: certFile, KeyFile: keyFile}
	cl := client(t, c)
	require.Error(t, kafka.Ping(soon(t), cl, "test"))
	require.NoError(t, os.WriteFile(certFile, read(t, ours.certFile), 0o600))
	require.NoError(t, os.WriteFile(keyFile, read(t, ours.keyFile), 0o600))
	require.NoError(t, kafka.Ping(soon(t), cl, "test"))
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	return text
}

func TestCertificateFilesThatAreWrong(t *testing.T) {
	t.Parallel()
	one, other := newIdentity(t, "one"), newIdentity(t, "other")
	missing := filepath.Join(t.TempDir(), "missing.pem")
	junk := write(t, "junk.pem", []byte("not PEM"))
	for want, config := range map[string]*duplex.TLS{
		"kafka: reading Cluster.TLS.CAFile: open " + missing:             {CAFile: missing},
		`junk.pem": no PEM certificate in it`:                            {CAFile: junk},
		"kafka: reading Cluster.TLS.CertFile and KeyFile: open":          {CertFile: missing, KeyFile: one.keyFile},
		"kafka: reading Cluster.TLS.CertFile and KeyFile: tls: failed":   {CertFile: junk, KeyFile: one.keyFile},
		"kafka: reading Cluster.TLS.CertFile and KeyFile: tls: private ": {CertFile: one.certFile, KeyFile: other.keyFile},
	} {
		_, err := kafka.NewClient(duplex.Cluster{Brokers: []string{"a:1"}, TLS: config}, nil)
		require.ErrorContains(t, err, want, "told before anything is dialled")
	}
}

func TestGivenTLSConfigIsNotChanged(t *testing.T) {
	t.Parallel()
	b := start(t, broker.Config{Listen: anyPort, TLS: &tls.Config{MinVersion: tls.VersionTLS12}})
	c := b.Cluster()
	config := c.TLS.Config.Clone()
	config.ServerName = ""
	c.TLS = &duplex.TLS{Config: config}
	require.NoError(t, kafka.Ping(soon(t), client(t, c), "test"), "the name to expect is the dialled host")
	require.Empty(t, config.ServerName)
}

func TestEveryBrokerHasToHaveItsOwnName(t *testing.T) {
	t.Parallel()
	b := start(t, broker.Config{Listen: anyPort, TLS: &tls.Config{MinVersion: tls.VersionTLS12}})
	var mu sync.Mutex
	var names []string
	c := duplex.Cluster{
		Brokers: []string{"seed.example:9092"}, // the broker says that its name is 127.0.0.1
		Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, b.Addrs()[0])
		},
		TLS: &duplex.TLS{Config: &tls.Config{
			MinVersion: tls.VersionTLS12, InsecureSkipVerify: true,
			VerifyConnection: func(state tls.ConnectionState) error {
				mu.Lock()
				defer mu.Unlock()
				names = append(names, state.ServerName)
				return nil
			},
		}},
	}
	_, err := kafka.EnsureTopic(soon(t), client(t, c), "test", "orders", 1)
	require.NoError(t, err)
	mu.Lock()
	defer mu.Unlock()
	require.Contains(t, names, "seed.example")
	require.Contains(t, names, "", "TLS has no name for an address; the seed's must not be asked for again")
}
