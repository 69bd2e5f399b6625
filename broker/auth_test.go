package broker_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/broker"
	"github.com/duplex-go/duplex/internal/kafka"
)

const anyPort = "127.0.0.1:0"

func TestTLS(t *testing.T) {
	t.Parallel()
	b := start(t, broker.Config{Listen: anyPort, TLS: &tls.Config{MinVersion: tls.VersionTLS13}, Topics: []broker.Topic{{Name: "orders"}}})
	roundTrip(t, b.Cluster(), "orders", 10)
	require.Zero(t, b.Refused())

	plain := b.Cluster()
	plain.TLS = nil
	require.Error(t, kafka.Ping(soon(t), client(t, plain), "test"), "plain text to a TLS port")
	stranger := b.Cluster()
	stranger.TLS = &duplex.TLS{}
	require.ErrorIs(t, kafka.Ping(soon(t), client(t, stranger), "test"), duplex.ErrUnreachable, "the certificate is not trusted")
	require.Positive(t, b.Refused())
	roundTrip(t, b.Cluster(), "orders", 10)
}

func TestEveryBrokerHasACertificateOfItsOwn(t *testing.T) {
	t.Parallel()
	first := start(t, broker.Config{Listen: anyPort, TLS: &tls.Config{MinVersion: tls.VersionTLS12}})
	second := start(t, broker.Config{Listen: anyPort, TLS: &tls.Config{MinVersion: tls.VersionTLS12}})
	crossed := first.Cluster()
	crossed.TLS = second.Cluster().TLS
	require.ErrorIs(t, kafka.Ping(soon(t), client(t, crossed), "test"), duplex.ErrUnreachable)
}

func TestGivenCertificate(t *testing.T) {
	t.Parallel()
	certificate := authority(t, "kafka.example")
	b := start(t, broker.Config{Listen: anyPort, TLS: &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{certificate}}})
	require.Error(t, kafka.Ping(soon(t), client(t, b.Cluster()), "test"), "the name is another")
	c := b.Cluster()
	config := c.TLS.Config.Clone()
	config.ServerName = "kafka.example"
	c.TLS = &duplex.TLS{Config: config}
	require.NoError(t, kafka.Ping(soon(t), client(t, c), "test"))
}

// authority makes a certificate that signed itself.
func authority(t *testing.T, name string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{name}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func TestUsers(t *testing.T) {
	t.Parallel()
	for _, mechanism := range []duplex.SASLMechanism{duplex.SASLPlain, duplex.SASLScramSHA256, duplex.SASLScramSHA512} {
		for _, secured := range []*tls.Config{nil, {MinVersion: tls.VersionTLS12}} {
			b := start(t, broker.Config{
				Listen: anyPort,
				TLS:    secured,
				Users:  []broker.User{{Mechanism: mechanism, Name: "ann", Password: "correct horse"}},
				Topics: []broker.Topic{{Name: "orders"}},
			})
			roundTrip(t, b.Cluster(), "orders", 5)
			for _, wrong := range []*duplex.SASL{
				nil,
				{Mechanism: mechanism, Username: "ann", Password: "battery staple"},
				{Mechanism: mechanism, Username: "bob", Password: "correct horse"},
				{Mechanism: other(mechanism), Username: "ann", Password: "correct horse"},
			} {
				c := b.Cluster()
				c.SASL = wrong
				require.Error(t, kafka.Ping(soon(t), client(t, c), "test"), "%+v", wrong)
			}
		}
	}
}

func other(m duplex.SASLMechanism) duplex.SASLMechanism {
	if m == duplex.SASLPlain {
		return duplex.SASLScramSHA256
	}
	return duplex.SASLPlain
}

func TestTLSNeedsAPort(t *testing.T) {
	t.Parallel()
	_, err := broker.Start(broker.Config{TLS: &tls.Config{MinVersion: tls.VersionTLS12}})
	require.ErrorContains(t, err, "Config.TLS is set, but not Config.Listen")
}
