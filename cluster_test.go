package duplex_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/duplex-go/duplex"
)

const hunter2 duplex.Secret = "hunter2"

func ExampleSecret() {
	sasl := duplex.SASL{Mechanism: duplex.SASLPlain, Username: "ann", Password: "hunter2"}
	fmt.Printf("%+v\n", sasl)
	fmt.Println(len(string(sasl.Password))) // to use it, convert it
	// Output:
	// {Mechanism:PLAIN Username:ann Password:*** Token:<nil>}
	// 7
}

func TestSecretIsNeverFormatted(t *testing.T) {
	t.Parallel()
	sasl := &duplex.SASL{Mechanism: duplex.SASLPlain, Username: "ann", Password: hunter2}
	cluster := duplex.Cluster{Brokers: []string{"127.0.0.1:9092"}, SASL: sasl}
	for _, v := range []any{
		hunter2, new(hunter2), []duplex.Secret{hunter2}, map[string]duplex.Secret{"p": hunter2}, map[duplex.Secret]int{hunter2: 1},
		struct{ P any }{hunter2}, sasl, *sasl, cluster, &cluster,
	} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "% x", "%#q", "%10.3v", "%d", "%t", "%e", "%z"} {
			requireHidden(t, verb, fmt.Sprintf(verb, v))
		}
		requireHidden(t, "Sprint", fmt.Sprint(v))
		requireHidden(t, "error", fmt.Errorf("refused: %v", v).Error())
	}
	require.Equal(t, "***", hunter2.String())
	require.Equal(t, `"***"`, fmt.Sprintf("%#v", hunter2))
	require.Empty(t, duplex.Secret("").String(), "that there is none may be seen")
}

// requireHidden also looks for the bytes in hexadecimal.
func requireHidden(t *testing.T, how, text string) {
	t.Helper()
	for _, leak := range []string{"hunter2", "hun", "68756e", "68 75 6e"} {
		require.NotContains(t, strings.ToLower(text), leak, how)
	}
}

func TestSecretIsNeverMarshalled(t *testing.T) {
	t.Parallel()
	text, err := hunter2.MarshalText() // what JSON, YAML, TOML and XML ask for
	require.NoError(t, err)
	require.Equal(t, "***", string(text))

	type settings struct {
		User     string
		Password duplex.Secret
		Others   []duplex.Secret
	}
	v := settings{User: "ann", Password: hunter2, Others: []duplex.Secret{hunter2}}
	text, err = json.Marshal(v)
	require.NoError(t, err)
	require.JSONEq(t, `{"User":"ann","Password":"***","Others":["***"]}`, string(text))
	text, err = xml.Marshal(v)
	require.NoError(t, err)
	requireHidden(t, "xml", string(text))

	var logged strings.Builder
	for _, handler := range []slog.Handler{slog.NewTextHandler(&logged, nil), slog.NewJSONHandler(&logged, nil)} {
		slog.New(handler).Info("connecting", "settings", v, "password", v.Password)
	}
	core := zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.AddSync(&logged), zap.InfoLevel)
	zap.New(core).Info("connecting", zap.Any("settings", v), zap.Any("password", v.Password), zap.Stringer("again", v.Password))
	require.Equal(t, 3, strings.Count(logged.String(), "connecting"))
	requireHidden(t, "logs", logged.String())
}

func TestValidateReportsEveryProblemAtOnce(t *testing.T) {
	t.Parallel()
	err := duplex.Cluster{
		Brokers:     []string{"kafka", "kafka:0", "kafka:65536", "kafka:http", ":9092", "127.0.0.1:9092"},
		DialTimeout: -1,
		TLS:         &duplex.TLS{CertFile: "cert.pem"},
		SASL:        &duplex.SASL{Mechanism: duplex.SASLScramSHA256},
	}.Validate()
	for _, want := range []string{
		`Cluster.Brokers[0] = "kafka": want host:port, such as 127.0.0.1:9092`,
		`Cluster.Brokers[1] = "kafka:0": port "0" is not a number from 1 to 65535`,
		`Cluster.Brokers[2] = "kafka:65536": port "65536"`,
		`Cluster.Brokers[3] = "kafka:http": port "http"`,
		`Cluster.Brokers[4] = ":9092": the host is empty`,
		"Cluster.DialTimeout = -1ns: must not be negative",
		`Cluster.TLS.CertFile = "cert.pem", KeyFile = "": set both or neither`,
		"Cluster.SASL.Username is empty: SCRAM-SHA-256 needs one",
		"Cluster.SASL.Password is empty: SCRAM-SHA-256 needs one",
	} {
		require.ErrorContains(t, err, want)
	}
	require.NotContains(t, err.Error(), "Brokers[5]")
	require.Len(t, strings.Split(err.Error(), "\n"), 9, "a line for each problem")
}

func TestValidateOneProblem(t *testing.T) {
	t.Parallel()
	brokers := []string{"127.0.0.1:9092"}
	for want, c := range map[string]duplex.Cluster{
		"Cluster.Brokers is empty: name at least one host:port": {},
		"Cluster.TLS.Config is set together with other fields":  {Brokers: brokers, TLS: &duplex.TLS{Config: &tls.Config{MinVersion: tls.VersionTLS12}, InsecureSkipVerify: true}},
		"Cluster.SASL.Token is nil: OAUTHBEARER needs one":      {Brokers: brokers, SASL: &duplex.SASL{Mechanism: duplex.SASLOAuthBearer}},
		`Cluster.SASL.Mechanism = "": want PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER`: {
			Brokers: brokers, SASL: &duplex.SASL{Username: "ann", Password: hunter2},
		},
		`Cluster.SASL.Mechanism = "plain"`: {Brokers: brokers, SASL: &duplex.SASL{Mechanism: "plain"}},
	} {
		err := c.Validate()
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), "\n")
		requireHidden(t, "error", err.Error())
	}
}

func TestValidateTakesWhatWorks(t *testing.T) {
	t.Parallel()
	token := func(context.Context) (string, error) { return "", nil }
	for _, c := range []duplex.Cluster{
		{Brokers: []string{"127.0.0.1:9092", "[::1]:9092", "kafka.example:65535"}},
		{Brokers: []string{"k:1"}, TLS: &duplex.TLS{}, SASL: &duplex.SASL{Mechanism: duplex.SASLPlain, Username: "ann", Password: hunter2}},
		{Brokers: []string{"k:1"}, TLS: &duplex.TLS{Config: &tls.Config{MinVersion: tls.VersionTLS12}}, SASL: &duplex.SASL{Mechanism: duplex.SASLOAuthBearer, Token: token}},
		{Brokers: []string{"k:1"}, TLS: &duplex.TLS{CAFile: "ca.pem", CertFile: "c.pem", KeyFile: "k.pem", ServerName: "kafka"}},
	} {
		require.NoError(t, c.Validate())
	}
}

func TestHostileSettingsDoNotFillTheLog(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 9<<20)
	err := duplex.Cluster{Brokers: []string{long}, SASL: &duplex.SASL{Mechanism: duplex.SASLMechanism(long)}}.Validate()
	require.Error(t, err)
	require.Less(t, len(err.Error()), 700)
	err = duplex.Cluster{Brokers: []string{"kafka:" + long}}.Validate()
	require.Error(t, err)
	require.Less(t, len(err.Error()), 700)
}
