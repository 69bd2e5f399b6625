package cli_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	shared "github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/broker"
	"github.com/duplex-go/duplex/internal/app/apptest"
	"github.com/duplex-go/duplex/internal/command"
)

// examined is what doctor finds, one line for each thing, "check state text: fix".
func examined(t *testing.T, environ []string, args ...string) (findings []string, code int) {
	t.Helper()
	stdout, stderr, code := duplex(t, environ, append([]string{"doctor", "--json"}, args...)...)
	var said struct {
		OK       bool
		Findings []struct{ Check, State, Text, Fix string }
	}
	require.NoError(t, json.Unmarshal([]byte(stdout), &said), stderr)
	require.Equal(t, code == command.OK, said.OK)
	for _, f := range said.Findings {
		findings = append(findings, f.Check+" "+f.State+" "+f.Text+": "+f.Fix)
	}
	return findings, code
}

// finds wants a line that begins with begin and has part in it.
func finds(t *testing.T, findings []string, begin, part string) {
	t.Helper()
	for _, f := range findings {
		if strings.HasPrefix(f, begin+" ") && strings.Contains(f, part) {
			return
		}
	}
	require.Fail(t, "not found", "%s … %s in\n%s", begin, part, strings.Join(findings, "\n"))
}

func TestDoctorOfAHealthyCluster(t *testing.T) {
	t.Parallel()
	b, err := broker.Start(broker.Config{
		Listen: "127.0.0.1:0", Brokers: 3, Configs: map[string]string{"min.insync.replicas": "2"},
		Topics: []broker.Topic{{Name: "orders", Partitions: 6}, {Name: "dlq.billing.orders", Partitions: 6, Configs: map[string]string{"retention.ms": "1209600000"}}},
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	var mu sync.Mutex
	asked := map[int16]bool{}
	b.Kfake().Control(func(r kmsg.Request) (kmsg.Response, error, bool) {
		b.Kfake().KeepControl()
		mu.Lock()
		defer mu.Unlock()
		asked[r.Key()] = true
		return nil, nil, false
	})
	stdout, stderr, code := duplex(t, nil, "doctor", "--brokers", b.Addrs()[0], "--topic", "orders", "--group", "billing")
	require.Equal(t, command.OK, code, stdout+stderr)
	for _, line := range strings.Split(strings.TrimSpace(stdout), "\n") {
		require.Regexp(t, "^✓ [a-z ]+ ", line)
	}
	require.Equal(t, 3, strings.Count(stdout, "\n✓ broker "), "those that the cluster names too")
	for _, says := range []string{
		"by --brokers", "3 brokers, 2 topics, controller ", "with idempotent producers, transactions, groups of KIP-848", "all 12 have a leader",
		"3 replicas, at least 2 in sync", "1 topics, kept for a week or more", "orders: 6 partitions, 3 replicas; we may read, write,", "billing: not there yet; we may read",
	} {
		require.Contains(t, stdout, says)
	}
	mu.Lock()
	defer mu.Unlock()
	for _, key := range []kmsg.Key{kmsg.ApiVersions, kmsg.Metadata, kmsg.DescribeConfigs, kmsg.DescribeGroups, kmsg.ConsumerGroupDescribe, kmsg.FindCoordinator, kmsg.ListOffsets, kmsg.ListGroups} {
		delete(asked, key.Int16())
	}
	require.Empty(t, asked, "it only asks")
}

// selfSigned makes a certificate for 127.0.0.1, and the file to trust it by.
func selfSigned(t *testing.T, left time.Duration) (certificate tls.Certificate, file string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotAfter: time.Now().Add(left), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	file = filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, file
}

func TestDoctorOfTheWay(t *testing.T) {
	t.Parallel()
	certificate, ca := selfSigned(t, 10*24*time.Hour+time.Hour)
	b, err := broker.Start(broker.Config{
		Listen: "127.0.0.1:0", TLS: &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{certificate}},
		Users: []broker.User{{Mechanism: shared.SASLScramSHA256, Name: "ann", Password: "correct horse"}},
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	address := b.Addrs()[0]
	password := []string{"DUPLEX_SASL_PASSWORD=correct horse"}
	as := []string{"--brokers", address, "--sasl-username", "ann", "--sasl-mechanism", "SCRAM-SHA-256", "--timeout", "5s"}

	found, code := examined(t, password, append(as, "--tls-ca", ca)...)
	require.Equal(t, command.OK, code, found)
	finds(t, found, "encryption ok", "TLS, authorities "+ca)
	finds(t, found, "credentials ok", "SCRAM-SHA-256 as ann, password by DUPLEX_SASL_PASSWORD")
	finds(t, found, "broker ok", "TLS 1.3, SCRAM-SHA-256 accepted, speaks Kafka")
	finds(t, found, "certificate warning", "of "+address+", until ")
	finds(t, found, "certificate warning", ": 10 days are left: renew it")

	found, code = examined(t, password, append(as, "--tls-insecure")...)
	require.Equal(t, command.OK, code, found)
	finds(t, found, "encryption warning", "no certificate is checked")
	found, code = examined(t, []string{"DUPLEX_SASL_PASSWORD=battery staple"}, append(as, "--tls-ca", ca)...)
	require.Equal(t, command.Failed, code)
	finds(t, found, "broker problem", "check user name, password and mechanism")
	for says, args := range map[string][]string{
		"the broker's certificate is not trusted: set the CA file":       append(as, "--tls"),
		"the broker closed the connection at once: it may want TLS":      as,
		"check user name, password and mechanism":                        append(as, "--tls-ca", ca, "--sasl-username", "bob"),
		"Cluster.TLS.CAFile: open /nowhere: no such file or directory":   append(as, "--tls-ca", "/nowhere"),
		"the broker's certificate is not trusted: set the CA file, and ": append(as, "--tls-ca", ca, "--tls-server-name", "other"),
	} {
		found, code = examined(t, password, args...)
		require.Equal(t, command.Failed, code, found)
		require.Contains(t, found[len(found)-1], says)
		require.NotContains(t, strings.Join(found, ""), "correct horse")
	}
	found, _ = examined(t, password, "--brokers", address, "--sasl-username", "ann")
	finds(t, found, "encryption warning", "the password goes over the network as it is")

	plain := apptest.Listen(t)
	found, code = examined(t, nil, "--brokers", plain.Addrs()[0], "--tls")
	require.Equal(t, command.Failed, code)
	finds(t, found, "broker problem", "the port may not speak TLS")
}

func TestDoctorOfOurCertificate(t *testing.T) {
	t.Parallel()
	old, file := selfSigned(t, -time.Hour)
	key, err := x509.MarshalPKCS8PrivateKey(old.PrivateKey)
	require.NoError(t, err)
	keyFile := filepath.Join(t.TempDir(), "key.pem")
	require.NoError(t, os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}), 0o600))
	found, code := examined(t, nil, "--brokers", apptest.Nobody(t), "--tls-cert", file, "--tls-key", keyFile)
	require.Equal(t, command.Failed, code)
	finds(t, found, "certificate problem", "it has ended: renew it")
}

func TestDoctorWhereNobodyIs(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "profiles.yaml")
	require.NoError(t, os.WriteFile(path, []byte("current: dev\nprofiles: {dev: {brokers: ["+apptest.Nobody(t)+"], read-only: true}}"), 0o600))
	environ := []string{"DUPLEX_PROFILES_FILE=" + path}
	found, code := examined(t, environ)
	require.Equal(t, command.Failed, code)
	finds(t, found, "profile ok", "dev, by "+path)
	finds(t, found, "brokers ok", "by "+path+", line 2: profile dev")
	finds(t, found, "writing ok", "read-only, says "+path)
	finds(t, found, "broker problem", "connection refused: check that a broker listens at this address")

	b := apptest.Listen(t)
	found, code = examined(t, append(environ, "DUPLEX_BROKERS="+b.Addrs()[0]+","+apptest.Silence(t)), "--timeout", "500ms")
	require.Equal(t, command.Failed, code, "one that answers is enough to go on, and not enough to be well")
	finds(t, found, "profile warning", "dev, but the brokers come from elsewhere: DUPLEX_BROKERS weighs more")
	finds(t, found, "broker problem", "no answer")
	finds(t, found, "cluster ok", "1 brokers")
	_, stderr, code := duplex(t, nil, "doctor", "--topic", "a/b")
	require.Equal(t, command.Usage, code, stderr)
}

func TestDoctorOfDeadLetters(t *testing.T) {
	t.Parallel()
	topic := func(name string, partitions int32, pairs ...string) broker.Topic {
		configs := map[string]string{"retention.ms": "-1"}
		for i := 0; i < len(pairs); i += 2 {
			configs[pairs[i]] = pairs[i+1]
		}
		return broker.Topic{Name: name, Partitions: partitions, Configs: configs}
	}
	b := apptest.Listen(t, topic("eu.orders", 3), topic("orders", 9),
		topic("dlq.g.fine", 1), topic("dlq.g.short", 1, "retention.ms", "86400000"), topic("dlq.g.compact", 1, "cleanup.policy", "compact"), topic("dlq.g.eu.orders", 2))
	found, code := examined(t, nil, to(b)...)
	require.Equal(t, command.Failed, code)
	finds(t, found, "dead letters warning", "dlq.g.short keeps letters for 24h0m0s: raise retention.ms")
	finds(t, found, "dead letters problem", "dlq.g.compact is compacted")
	finds(t, found, "dead letters warning", "dlq.g.eu.orders has 2 partitions, eu.orders has 3")
	require.NotContains(t, strings.Join(found, "\n"), "dlq.g.fine")
	found, _ = examined(t, nil, to(b, "--topic", "ordres")...)
	finds(t, found, "topic problem", `ordres: it is not there, or hidden from us: did you mean "orders"?`)
}

// A cluster that says of itself what no embedded broker does.
func TestDoctorOfASickCluster(t *testing.T) {
	t.Parallel()
	b := apptest.Listen(t)
	host, port, err := net.SplitHostPort(b.Addrs()[0])
	require.NoError(t, err)
	number, err := strconv.Atoi(port)
	require.NoError(t, err)
	controller := int32(-1)
	defaults := map[string]string{"auto.create.topics.enable": "true", "default.replication.factor": "1", "min.insync.replicas": "2"}
	b.Kfake().ControlKey(int16(kmsg.Metadata), func(r kmsg.Request) (kmsg.Response, error, bool) {
		b.Kfake().KeepControl()
		resp := r.ResponseKind().(*kmsg.MetadataResponse)
		one := kmsg.NewMetadataResponseBroker()
		one.NodeID, one.Host, one.Port = 0, host, int32(number)
		other := one
		other.NodeID, other.Host, other.Port = 1, "127.0.0.1", 1
		resp.Brokers, resp.ControllerID = []kmsg.MetadataResponseBroker{one, other}, controller
		topic := kmsg.NewMetadataResponseTopic()
		topic.Topic = kmsg.StringPtr("orders")
		for i := range int32(6) {
			p := kmsg.NewMetadataResponseTopicPartition()
			p.Partition, p.Leader, p.Replicas, p.ISR = i, 0, []int32{0, 1}, []int32{0}
			if i < 5 {
				p.Leader = -1
			}
			topic.Partitions = append(topic.Partitions, p)
		}
		resp.Topics = append(resp.Topics, topic)
		return resp, nil, true
	})
	b.Kfake().ControlKey(int16(kmsg.DescribeConfigs), func(r kmsg.Request) (kmsg.Response, error, bool) {
		b.Kfake().KeepControl()
		resp := r.ResponseKind().(*kmsg.DescribeConfigsResponse)
		one := kmsg.NewDescribeConfigsResponseResource()
		one.ResourceType, one.ResourceName = kmsg.ConfigResourceTypeBroker, "0"
		for key, value := range defaults {
			c := kmsg.NewDescribeConfigsResponseResourceConfig()
			c.Name, c.Value = key, kmsg.StringPtr(value)
			one.Configs = append(one.Configs, c)
		}
		resp.Resources = append(resp.Resources, one)
		return resp, nil, true
	})
	found, code := examined(t, nil, to(b)...)
	require.Equal(t, command.Failed, code)
	finds(t, found, "cluster problem", "controller -1: look at the controllers' logs")
	finds(t, found, "partitions problem", "5 of 6 have no leader: orders/0, orders/1, orders/2 and 2 more")
	finds(t, found, "partitions warning", "1 of 6 have replicas that are not in sync: orders/5")
	finds(t, found, "new topics warning", "broker 0 makes topics by itself")
	finds(t, found, "defaults problem", "nothing can be written to new topics")
	finds(t, found, "broker problem", "check that a broker listens at this address; the cluster names broker 1 so, and programs must reach it there")
	stdout, _, _ := duplex(t, nil, to(b, "doctor", "--group", "\x1b[2J")...)
	require.Contains(t, stdout, " [2J: ")
	require.NotContains(t, stdout, "\x1b", "nor can it move a cursor")
}

// Rights are those that the brokers say we have.
func TestDoctorOfRights(t *testing.T) {
	t.Parallel()
	acl := func(resource kmsg.ACLResourceType, name string, op kmsg.ACLOperation) kfake.ACL {
		return kfake.ACL{Resource: resource, Name: name, Pattern: kmsg.ACLResourcePatternTypeLiteral, Operation: op, Allow: true}
	}
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.EnableACLs(), kfake.EnableSASL(), kfake.SeedTopics(1, "reads", "writes", "both", "none"),
		kfake.Superuser("PLAIN", "root", "root"), kfake.User("PLAIN", "ann", "x",
			acl(kmsg.ACLResourceTypeTopic, "reads", kmsg.ACLOperationRead), acl(kmsg.ACLResourceTypeTopic, "writes", kmsg.ACLOperationWrite),
			acl(kmsg.ACLResourceTypeTopic, "both", kmsg.ACLOperationRead), acl(kmsg.ACLResourceTypeTopic, "both", kmsg.ACLOperationWrite),
			acl(kmsg.ACLResourceTypeTopic, "none", kmsg.ACLOperationDescribe),
			acl(kmsg.ACLResourceTypeGroup, "mine", kmsg.ACLOperationRead), acl(kmsg.ACLResourceTypeGroup, "seen", kmsg.ACLOperationDescribe)))
	require.NoError(t, err)
	t.Cleanup(c.Close)
	for _, test := range []struct{ topic, group, topicLine, groupLine string }{
		{"reads", "mine", "topic warning", "group ok"},
		{"writes", "seen", "topic warning", "group problem"},
		{"both", "other", "topic ok", "group problem"},
		{"none", "mine", "topic problem", "group ok"},
		{"gone", "mine", "topic problem", "group ok"},
	} {
		found, _ := examined(t, nil, "--brokers", c.ListenAddrs()[0], "--sasl-username", "ann", "--sasl-password", "x", "--topic", test.topic, "--group", test.group)
		finds(t, found, test.topicLine, test.topic+": ")
		finds(t, found, test.groupLine, test.group+": ")
		finds(t, found, "defaults warning", "grant DESCRIBE_CONFIGS on the cluster")
	}
}

func TestDoctorOfClocks(t *testing.T) {
	t.Parallel()
	b := apptest.Listen(t, broker.Topic{Name: "orders", Configs: map[string]string{"message.timestamp.type": "LogAppendTime"}})
	produce(t, b, "orders", "x")
	found, _ := examined(t, nil, to(b, "--topic", "orders")...)
	finds(t, found, "clock ok", "the last record of orders has its time")
	b.Kfake().ControlKey(int16(kmsg.ListOffsets), func(r kmsg.Request) (kmsg.Response, error, bool) {
		b.Kfake().KeepControl()
		resp := r.ResponseKind().(*kmsg.ListOffsetsResponse)
		topic, p := kmsg.NewListOffsetsResponseTopic(), kmsg.NewListOffsetsResponseTopicPartition()
		topic.Topic, p.Timestamp = "orders", time.Now().Add(5*time.Minute).UnixMilli()
		topic.Partitions = append(topic.Partitions, p)
		resp.Topics = append(resp.Topics, topic)
		return resp, nil, true
	})
	found, code := examined(t, nil, to(b, "--topic", "orders")...)
	require.Equal(t, command.OK, code)
	finds(t, found, "clock warning", "the broker's is ahead of ours by ")
}
