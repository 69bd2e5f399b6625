package integration

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duplex-go/duplex"
)

// The names of listeners. Only plaintext is named as its protocol is: the
// official image's start script asks for keystore files and a JAAS file where an
// address begins with SSL:// or SASL_, and needs neither.
const (
	plaintext = "PLAINTEXT"
	auth      = "AUTH"
	secure    = "SECURE"
)

const firstPort = 9092 // of the first listener inside the container; 9091 is the broker's own, 9093 the controller's

// listener is one way into a broker.
type listener struct {
	name, protocol string
	settings       map[string]string // KAFKA_… variables it needs
	port, hostPort int
}

// withPlainUser adds a listener that wants SASL PLAIN credentials.
func withPlainUser(user, password string) listener {
	return listener{name: auth, protocol: "SASL_PLAINTEXT", settings: map[string]string{
		"KAFKA_LISTENER_NAME_AUTH_SASL_ENABLED_MECHANISMS": "PLAIN",
		"KAFKA_LISTENER_NAME_AUTH_PLAIN_SASL_JAAS_CONFIG": fmt.Sprintf(
			`org.apache.kafka.common.security.plain.PlainLoginModule required user_%s="%s";`, user, password),
	}}
}

// withRights has the broker ask for rights: users of l have none until they are
// granted some, everybody else may do everything.
func withRights(l listener) listener {
	l.settings["KAFKA_AUTHORIZER_CLASS_NAME"] = "org.apache.kafka.metadata.authorizer.StandardAuthorizer"
	l.settings["KAFKA_SUPER_USERS"] = "User:ANONYMOUS"
	return l
}

// SASL is the way in through the listener of withPlainUser.
func (n *kafkaNode) SASL(user, password string) duplex.Cluster {
	return duplex.Cluster{
		Brokers: []string{n.address(auth)},
		SASL:    &duplex.SASL{Mechanism: duplex.SASLPlain, Username: user, Password: duplex.Secret(password)},
	}
}

// withTLS adds an encrypted listener whose certificate is valid for 127.0.0.1,
// and returns the file with the authority to trust.
func withTLS(t *testing.T) (l listener, caFile string) {
	t.Helper()
	cert, key := selfSigned(t)
	caFile = filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(caFile, cert, 0o600))
	// The image writes settings into a properties file as they are: a line break
	// must arrive there as the two characters \n.
	inline := func(pem []byte) string { return strings.ReplaceAll(strings.TrimSpace(string(pem)), "\n", `\n`) }
	return listener{name: secure, protocol: "SSL", settings: map[string]string{
		"KAFKA_LISTENER_NAME_SECURE_SSL_KEYSTORE_TYPE":              "PEM",
		"KAFKA_LISTENER_NAME_SECURE_SSL_KEYSTORE_CERTIFICATE_CHAIN": inline(cert),
		"KAFKA_LISTENER_NAME_SECURE_SSL_KEYSTORE_KEY":               inline(key),
	}}, caFile
}

// TLS is the way in through the listener of withTLS.
func (n *kafkaNode) TLS(caFile string) duplex.Cluster {
	return duplex.Cluster{Brokers: []string{n.address(secure)}, TLS: &duplex.TLS{CAFile: caFile}}
}

// settings are the variables that make the image start a single node. Any KAFKA_
// variable drops all of the image's defaults, so the set is complete.
func (n *kafkaNode) settings() map[string]string {
	var listen, advertise, protocols []string
	env := map[string]string{
		"KAFKA_NODE_ID":                                                     "1",
		"KAFKA_PROCESS_ROLES":                                               "broker,controller",
		"KAFKA_CONTROLLER_QUORUM_VOTERS":                                    "1@localhost:9093",
		"KAFKA_CONTROLLER_LISTENER_NAMES":                                   "CONTROLLER",
		"KAFKA_INTER_BROKER_LISTENER_NAME":                                  "INTERNAL",
		"KAFKA_AUTO_CREATE_TOPICS_ENABLE":                                   "false",
		"KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR":                            "1",
		"KAFKA_OFFSETS_TOPIC_NUM_PARTITIONS":                                "3",
		"KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR":                    "1",
		"KAFKA_TRANSACTION_STATE_LOG_MIN_ISR":                               "1",
		"KAFKA_TRANSACTION_STATE_LOG_NUM_PARTITIONS":                        "3",
		"KAFKA_TRANSACTION_ABORT_TIMED_OUT_TRANSACTION_CLEANUP_INTERVAL_MS": "500",
		"KAFKA_SHARE_COORDINATOR_STATE_TOPIC_REPLICATION_FACTOR":            "1",
		"KAFKA_SHARE_COORDINATOR_STATE_TOPIC_MIN_ISR":                       "1",
		// A killed broker may register again only when its old session is over.
		"KAFKA_BROKER_SESSION_TIMEOUT_MS":                "3000",
		"KAFKA_BROKER_HEARTBEAT_INTERVAL_MS":             "500",
		"KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS":         "0",
		"KAFKA_GROUP_MIN_SESSION_TIMEOUT_MS":             "1000",
		"KAFKA_GROUP_CONSUMER_MIN_SESSION_TIMEOUT_MS":    "1000",
		"KAFKA_GROUP_CONSUMER_MIN_HEARTBEAT_INTERVAL_MS": "200",
		"KAFKA_LOG_CLEANER_DEDUPE_BUFFER_SIZE":           "4194304",
		"KAFKA_HEAP_OPTS":                                "-Xms256m -Xmx512m",
	}
	for _, l := range n.listeners {
		listen = append(listen, fmt.Sprintf("%s://:%d", l.name, l.port))
		advertise = append(advertise, fmt.Sprintf("%s://%s:%d", l.name, loopback, l.hostPort))
		protocols = append(protocols, l.name+":"+l.protocol)
		maps.Copy(env, l.settings)
	}
	// The broker talks to itself for transactions, and from inside its container
	// the ports of this machine are not there.
	env["KAFKA_LISTENERS"] = strings.Join(append(listen, "INTERNAL://localhost:9091", "CONTROLLER://:9093"), ",")
	env["KAFKA_ADVERTISED_LISTENERS"] = strings.Join(append(advertise, "INTERNAL://localhost:9091"), ",")
	env["KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"] = strings.Join(append(protocols, "INTERNAL:PLAINTEXT", "CONTROLLER:PLAINTEXT"), ",")
	return env
}

func selfSigned(t *testing.T) (cert, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "duplex integration"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IPAddresses: []net.IP{net.ParseIP(loopback)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	require.NoError(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	var c, k bytes.Buffer
	require.NoError(t, pem.Encode(&c, &pem.Block{Type: "CERTIFICATE", Bytes: der}))
	require.NoError(t, pem.Encode(&k, &pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
	return c.Bytes(), k.Bytes()
}
