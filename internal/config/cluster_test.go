package config_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/internal/config"
)

func cluster(t *testing.T, environ []string, args ...string) duplex.Cluster {
	t.Helper()
	flags := pflag.NewFlagSet("program", pflag.ContinueOnError)
	config.AddFlags(flags)
	c, err := config.AddClusterFlags(flags, "the-program")
	require.NoError(t, err)
	require.NoError(t, flags.Parse(args))
	require.NoError(t, config.Load(flags, environ))
	return c.Cluster()
}

func TestClusterOfNoFlags(t *testing.T) {
	t.Parallel()
	c := cluster(t, nil)
	require.Equal(t, duplex.Cluster{Brokers: []string{"127.0.0.1:9092"}, ClientID: "the-program", DialTimeout: 10 * time.Second}, c)
	require.NoError(t, c.Validate())
}

func TestClusterOfFlags(t *testing.T) {
	t.Parallel()
	c := cluster(t, []string{"DUPLEX_SASL_PASSWORD=hunter2"},
		"--brokers", "a:1,b:2", "--brokers", "c:3", "--client-id", "other", "--dial-timeout", "1s",
		"--tls-ca", "ca.pem", "--tls-cert", "c.pem", "--tls-key", "k.pem", "--tls-server-name", "kafka", "--tls-insecure",
		"--sasl-username", "ann", "--sasl-mechanism", "scram-sha-512")
	require.Equal(t, duplex.Cluster{
		Brokers: []string{"a:1", "b:2", "c:3"}, ClientID: "other", DialTimeout: time.Second,
		TLS:  &duplex.TLS{CAFile: "ca.pem", CertFile: "c.pem", KeyFile: "k.pem", ServerName: "kafka", InsecureSkipVerify: true},
		SASL: &duplex.SASL{Mechanism: duplex.SASLScramSHA512, Username: "ann", Password: "hunter2"},
	}, c)
	require.NoError(t, c.Validate())
}

func TestEachTLSFlagTurnsTLSOn(t *testing.T) {
	t.Parallel()
	require.Nil(t, cluster(t, nil).TLS)
	require.Nil(t, cluster(t, nil, "--tls=false").TLS)
	for _, arg := range []string{"--tls", "--tls-insecure", "--tls-ca=x", "--tls-cert=x", "--tls-key=x", "--tls-server-name=x"} {
		require.NotNil(t, cluster(t, nil, arg).TLS, arg)
	}
}

func TestMechanism(t *testing.T) {
	t.Parallel()
	require.Nil(t, cluster(t, nil).SASL)
	for want, args := range map[duplex.SASLMechanism][]string{
		duplex.SASLPlain:       {"--sasl-username=ann", "--sasl-password=x"},
		duplex.SASLOAuthBearer: {"--sasl-token-file=token"},
		duplex.SASLScramSHA256: {"--sasl-username=ann", "--sasl-password=x", "--sasl-mechanism=SCRAM-SHA-256"},
	} {
		c := cluster(t, nil, args...)
		require.Equal(t, want, c.SASL.Mechanism)
		require.NoError(t, c.Validate())
	}
	for want, args := range map[string][]string{
		"Cluster.SASL.Username is empty":   {"--sasl-password=x"},
		"Cluster.SASL.Password is empty":   {"--sasl-username=ann"},
		`Cluster.SASL.Mechanism = "GUESS"`: {"--sasl-mechanism=guess"},
	} {
		require.ErrorContains(t, cluster(t, nil, args...).Validate(), want)
	}
}

func TestTokenIsReadWheneverOneIsNeeded(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "token")
	c := cluster(t, nil, "--sasl-token-file", path)
	_, err := c.SASL.Token(t.Context())
	require.ErrorIs(t, err, os.ErrNotExist)
	require.ErrorContains(t, err, "config: reading --sasl-token-file")
	for _, want := range []string{"first", "renewed"} {
		require.NoError(t, os.WriteFile(path, []byte(want+"\n"), 0o600))
		token, err := c.SASL.Token(t.Context())
		require.NoError(t, err)
		require.Equal(t, want, token)
	}
}
