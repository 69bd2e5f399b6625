package config

import (
	"context"
	"fmt"
	"os"
	"path"
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
	sasl     struct{ mechanism, username, password, tokenFile string }
	profile  string
	readOnly bool
	flags    *pflag.FlagSet
}

// AddClusterFlags adds the flags; Cluster gives what they say.
func AddClusterFlags(flags *pflag.FlagSet, clientID string) (*ClusterFlags, error) {
	c := &ClusterFlags{flags: flags}
	flags.StringVarP(&c.profile, ProfileFlag, "C", "", "use the cluster that duplex profile has under this `name`; '' for none (default: the one of duplex profile use)")
	err := c.addSettings(flags, clientID)
	return c, err
}

// AddProfileFlags adds the settings that a profile may have, the allowed topics aside.
func AddProfileFlags(flags *pflag.FlagSet) (*ClusterFlags, error) {
	c := &ClusterFlags{flags: flags}
	err := c.addSettings(flags, "")
	return c, err
}

// addSettings adds what a profile may have too.
func (c *ClusterFlags) addSettings(flags *pflag.FlagSet, clientID string) error {
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
	flags.BoolVar(&c.readOnly, ReadOnlyFlag, false, "refuse whatever would change something in the cluster; a profile or variable that says so cannot be overruled")
	return MarkSecret(flags, "sasl-password")
}

// Writes is what a command asks that is about to change something in the cluster, before it
// dials: the error, coded as [duplex.ErrRefused], says that the settings are read-only. op
// says what was to be done, such as "call: sending a request".
func (c *ClusterFlags) Writes(op string) error {
	if !c.readOnly {
		return nil
	}
	return &duplex.Error{
		Op: op, Codes: []duplex.Code{duplex.ErrRefused}, Err: fmt.Errorf("read-only, says %s", Origin(c.flags, ReadOnlyFlag)),
		Hint: "nothing was sent; use another profile, or take read-only away there",
	}
}

// Allows says whether records may be redriven to a topic: the error, coded as
// [duplex.ErrRefused], names the topics that the profile allows. Without such a list all are.
func (c *ClusterFlags) Allows(op, topic string) error {
	globs, listed := c.Allow()
	for _, glob := range globs {
		if ok, err := path.Match(glob, topic); ok && err == nil {
			return nil
		}
	}
	if !listed {
		return nil
	}
	return &duplex.Error{
		Op: op, Codes: []duplex.Code{duplex.ErrRefused}, Err: fmt.Errorf("topic %q is not among those that profile %s allows: %s", topic, c.profile, strings.Join(globs, ", ")),
		Hint: "add it with duplex profile set " + c.profile + " --allow",
	}
}

// Allow gives the globs of topics that records may be redriven to, and whether there is such
// a list.
func (c *ClusterFlags) Allow() (globs []string, listed bool) {
	globs, listed = c.flags.Lookup(ProfileFlag).Annotations[AllowKey]
	return globs, listed
}

// Profile is the profile in use; "" for none.
func (c *ClusterFlags) Profile() string { return c.profile }

// ProfileOnlyByName has a command that needs no cluster use a profile only where it is named,
// not the current one.
func (c *ClusterFlags) ProfileOnlyByName() error {
	return c.flags.SetAnnotation(ProfileFlag, namedOnly, []string{"true"})
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
