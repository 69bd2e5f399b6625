package broker

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"time"
)

// secure returns what the nodes serve with, and what clients trust.
func secure(config *tls.Config) (server, client *tls.Config, err error) {
	if config == nil {
		return nil, nil, nil
	}
	server = config.Clone()
	if len(server.Certificates) == 0 && server.GetCertificate == nil && server.GetConfigForClient == nil {
		certificate, err := selfSigned()
		if err != nil {
			return nil, nil, fmt.Errorf("making a certificate: %w", err)
		}
		server.Certificates = []tls.Certificate{certificate}
	}
	client = &tls.Config{MinVersion: tls.VersionTLS12}
	if len(server.Certificates) > 0 {
		client.RootCAs = x509.NewCertPool()
	}
	for _, chain := range server.Certificates {
		for _, der := range chain.Certificate {
			certificate, err := x509.ParseCertificate(der)
			if err != nil {
				return nil, nil, fmt.Errorf("reading Config.TLS.Certificates: %w", err)
			}
			client.RootCAs.AddCert(certificate)
		}
	}
	return server, client, nil
}

// selfSigned makes a certificate for this machine's names for itself.
func selfSigned() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()),
		Subject:      pkix.Name{CommonName: "localhost", Organization: []string{"duplex broker, development only"}},
		DNSNames:     []string{"localhost"},
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.AddDate(1, 0, 0),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}
