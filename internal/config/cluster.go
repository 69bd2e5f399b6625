package config

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/duplex-go/duplex"
)

// DefaultBroker is where the binaries look for Kafka when nobody says.
const DefaultBroker = "127.0.0.1:9092"

// ClusterFlags are the flags that say which Kafka to talk to and how.
type ClusterFlags struct {
	brokers     []string
	clientID    string
	dialTimeout time.Duration
	tls         struct {
		on, insecure              bool
		ca, cert, key, serverName string
	}
	sasl struct{ mechanism, username, password, tokenFile string }
}

// AddClusterFlags adds the flags; Cluster gives what they say.
func AddClusterFlags(flags *pflag.FlagSet, clientID string) (*ClusterFlags, error) {
	c := &ClusterFlags{}
	flags.StringSliceVar(&c.brokers, "brokers", []string{DefaultBroker}, "`host:port` of brokers to find the cluster by; several with commas")
	flags.StringVar(&c.clientID, "client-id", clientID, "how this program appears in the broker's logs and quotas")
	flags.DurationVar(&c.dialTimeout, "dial-timeout", 10*time.Second, "how long opening one connection may take, its TLS handshake included")
	flags.BoolVar(&c.tls.on, "tls", false, "encrypt connections; any --tls-… flag implies it")
	flags.StringVar(&c.tls.ca, "tls-ca", "", "PEM `file` with the authorities to trust (default: the system's)")
	flags.StringVar(&c.tls.cert, "tls-cert", "", "PEM `file` with our certificate, for clusters that ask for one")
	flags.StringVar(&c.tls.key, "tls-key", "", "PEM `file` with the key of --tls-cert")
	flags.StringVar(&c.tls.serverName, "tls-server-name", "", "`name` to expect in the broker's certificate (default: the dialled host)")
	flags.BoolVar(&c.tls.insecure, "tls-insecure", false, "accept any certificate; only for tests")
	flags.StringVar(&c.sasl.mechanism, "sasl-mechanism", "", "authenticate by PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER (default: PLAIN if there is a user name)")
	flags.StringVar(&c.sasl.username, "sasl-username", "", "user name for PLAIN and SCRAM")
	flags.StringVar(&c.sasl.password, "sasl-password", "", "its password; better set DUPLEX_SASL_PASSWORD, since others can see a command line")
	flags.StringVar(&c.sasl.tokenFile, "sasl-token-file", "", "`file` with the bearer token for OAUTHBEARER, read again whenever one is needed")
	return c, MarkSecret(flags, "sasl-password")
}

// Cluster gives what the flags say; duplex.Cluster.Validate checks it.
func (c *ClusterFlags) Cluster() duplex.Cluster {
	brokers := make([]string, len(c.brokers))
	for i, b := range c.brokers {
		brokers[i] = strings.TrimSpace(b) // "a:9092, b:9092"
	}
	cluster := duplex.Cluster{Brokers: brokers, ClientID: c.clientID, DialTimeout: c.dialTimeout}
	if c.tls.on || c.tls.insecure || c.tls.ca+c.tls.cert+c.tls.key+c.tls.serverName != "" {
		cluster.TLS = &duplex.TLS{
			CAFile: c.tls.ca, CertFile: c.tls.cert, KeyFile: c.tls.key, ServerName: c.tls.serverName, InsecureSkipVerify: c.tls.insecure,
		}
	}
	if c.sasl.mechanism+c.sasl.username+c.sasl.password+c.sasl.tokenFile == "" {
		return cluster
	}
	cluster.SASL = &duplex.SASL{
		Mechanism: duplex.SASLMechanism(strings.ToUpper(c.sasl.mechanism)), Username: c.sasl.username, Password: duplex.Secret(c.sasl.password),
	}
	if c.sasl.mechanism == "" {
		cluster.SASL.Mechanism = duplex.SASLPlain
	}
	if c.sasl.tokenFile != "" {
		cluster.SASL.Token = func(context.Context) (string, error) {
			token, err := os.ReadFile(c.sasl.tokenFile)
			if err != nil {
				return "", fmt.Errorf("config: reading --sasl-token-file: %w", err)
			}
			return strings.TrimSpace(string(token)), nil
		}
		if c.sasl.mechanism == "" {
			cluster.SASL.Mechanism = duplex.SASLOAuthBearer
		}
	}
	return cluster
}
