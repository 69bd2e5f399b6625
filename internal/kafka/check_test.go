package kafka_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/broker"
	"github.com/duplex-go/duplex/internal/kafka"
)

// refusing answers authentication as Kafka does when it refuses. (The embedded
// broker closes the connection without a word.)
func refusing(t *testing.T, with *kerr.Error) duplex.Cluster {
	t.Helper()
	k, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.EnableSASL())
	require.NoError(t, err)
	t.Cleanup(k.Close)
	k.ControlKey(kmsg.SASLAuthenticate.Int16(), func(r kmsg.Request) (kmsg.Response, error, bool) {
		k.KeepControl()
		answer := r.ResponseKind().(*kmsg.SASLAuthenticateResponse)
		answer.ErrorCode = with.Code
		return answer, nil, true
	})
	return duplex.Cluster{
		Brokers: k.ListenAddrs(),
		SASL:    &duplex.SASL{Mechanism: duplex.SASLPlain, Username: "ann", Password: "battery staple"},
	}
}

func token(context.Context) (string, error) { return "token", nil }

func TestPingSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	plain := start(t, broker.Config{Listen: anyPort}).Cluster()
	secured := start(t, broker.Config{Listen: anyPort, TLS: &tls.Config{MinVersion: tls.VersionTLS12}}).Cluster()
	users := start(t, broker.Config{Listen: anyPort, Users: []broker.User{{Mechanism: duplex.SASLScramSHA256, Name: "ann", Password: "correct horse"}}}).Cluster()
	web := serve(t, func(c net.Conn) { _, _ = c.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")) })
	with := func(c duplex.Cluster, change func(*duplex.Cluster)) duplex.Cluster {
		change(&c)
		return c
	}
	for name, c := range map[string]struct {
		cluster duplex.Cluster
		code    duplex.Code
		text    string
	}{
		"nobody listens": {duplex.Cluster{Brokers: []string{nobody(t)}}, duplex.ErrUnreachable, "check that a broker listens at this address"},
		"no such host":   {duplex.Cluster{Brokers: []string{"kafka.invalid:9092"}}, duplex.ErrUnreachable, "kafka.invalid:9092"},
		"not Kafka":      {duplex.Cluster{Brokers: []string{web}}, duplex.ErrUnreachable, "reaching the cluster at " + web},
		"TLS to a plain port": {
			with(plain, func(c *duplex.Cluster) { c.TLS = &duplex.TLS{} }), duplex.ErrUnreachable, "",
		},
		"TLS to a port that speaks something else": {
			duplex.Cluster{Brokers: []string{web}, TLS: &duplex.TLS{}}, duplex.ErrUnreachable, "the port does not speak TLS",
		},
		"plain to a TLS port": {
			with(secured, func(c *duplex.Cluster) { c.TLS = nil }), duplex.ErrUnreachable, "it may want TLS or SASL",
		},
		"a stranger's certificate": {
			with(secured, func(c *duplex.Cluster) { c.TLS = &duplex.TLS{} }), duplex.ErrUnreachable, "is not trusted",
		},
		"a certificate for another name": {
			with(secured, func(c *duplex.Cluster) {
				config := c.TLS.Config.Clone()
				config.ServerName = "kafka.example"
				c.TLS = &duplex.TLS{Config: config}
			}), duplex.ErrUnreachable, "check the server name",
		},
		"no credentials":     {with(users, func(c *duplex.Cluster) { c.SASL = nil }), duplex.ErrUnreachable, "it may want TLS or SASL"},
		"the wrong password": {refusing(t, kerr.SaslAuthenticationFailed), duplex.ErrUnauthenticated, "check user name, password and mechanism"},
		"the wrong mechanism": {
			with(users, func(c *duplex.Cluster) { c.SASL = &duplex.SASL{Mechanism: duplex.SASLOAuthBearer, Token: token} }),
			duplex.ErrUnauthenticated, "the listener does not offer this mechanism",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := kafka.Ping(soon(t), client(t, c.cluster), "test")
			require.Equal(t, c.code, duplex.CodeOf(err), "%v", err)
			require.ErrorContains(t, err, "test: reaching the cluster at ")
			require.ErrorContains(t, err, c.text)
			require.NotContains(t, err.Error(), "battery staple")
		})
	}
	for name, c := range map[string]duplex.Cluster{"plain": plain, "secured": secured, "users": users} {
		require.NoError(t, kafka.Ping(soon(t), client(t, c), "test"), name)
	}
}

func TestReachReturnsByItsTimeout(t *testing.T) {
	t.Parallel()
	const timeout = 300 * time.Millisecond
	for name, address := range map[string]string{"nobody listens": nobody(t), "nobody answers": serve(t, silent)} {
		for kind, secure := range map[string]*duplex.TLS{"plain": nil, "TLS": {}} {
			t.Run(name+", "+kind, func(t *testing.T) {
				t.Parallel()
				cl := client(t, duplex.Cluster{Brokers: []string{address}, TLS: secure})
				begin := time.Now()
				err := kafka.Reach(t.Context(), cl, "test", timeout)
				require.Equal(t, duplex.ErrUnreachable, duplex.CodeOf(err))
				require.ErrorContains(t, err, "test: reaching the cluster at "+address)
				require.GreaterOrEqual(t, time.Since(begin), timeout, "it tries until then")
				require.Less(t, time.Since(begin), timeout+5*time.Second)
			})
		}
	}
}

func TestReachReturnsWhenTheClusterComes(t *testing.T) {
	t.Parallel()
	address := nobody(t)
	cl := client(t, duplex.Cluster{Brokers: []string{address}})
	require.Error(t, kafka.Ping(soon(t), cl, "test"))
	reached := make(chan error, 1)
	go func() { reached <- kafka.Reach(t.Context(), cl, "test", time.Minute) }()
	start(t, broker.Config{Listen: address})
	select {
	case err := <-reached:
		require.NoError(t, err)
	case <-soon(t).Done():
		require.Fail(t, "the cluster is there, but Reach waits")
	}
}

func TestReachDoesNotTryAgainWhereItIsRefused(t *testing.T) {
	t.Parallel()
	c := refusing(t, kerr.SaslAuthenticationFailed)
	begin := time.Now()
	err := kafka.Reach(soon(t), client(t, c), "test", time.Hour)
	require.ErrorIs(t, err, duplex.ErrUnauthenticated)
	require.Less(t, time.Since(begin), 10*time.Second)
}

func TestReachReturnsTheCauseOfACancelledContext(t *testing.T) {
	t.Parallel()
	interrupted := errors.New("interrupted")
	ctx, cancel := context.WithCancelCause(t.Context())
	cl := client(t, duplex.Cluster{Brokers: []string{serve(t, silent)}})
	reached := make(chan error, 1)
	go func() { reached <- kafka.Reach(ctx, cl, "test", time.Hour) }()
	cancel(interrupted)
	select {
	case err := <-reached:
		require.Equal(t, interrupted, err)
	case <-soon(t).Done():
		require.Fail(t, "nobody wants the answer, but Reach waits")
	}
}

// A topic that was made a moment ago is not known to all brokers: one that is late is asked
// until it knows it, and one that does not answer is no reason to wait.
func TestTopicsAreKnownEverywhere(t *testing.T) {
	t.Parallel()
	k, err := kfake.NewCluster(kfake.NumBrokers(3), kfake.SeedTopics(1, "orders"))
	require.NoError(t, err)
	defer k.Close()
	cl, err := kgo.NewClient(kgo.SeedBrokers(k.ListenAddrs()...))
	require.NoError(t, err)
	defer cl.Close()
	_, err = kafka.Topics(soon(t), cl, "test", "orders")
	require.NoError(t, err)
	var asked [3]atomic.Int32
	k.ControlKey(kmsg.Metadata.Int16(), func(r kmsg.Request) (kmsg.Response, error, bool) {
		k.KeepControl()
		req, _ := r.(*kmsg.MetadataRequest)
		n := asked[k.CurrentNode()].Add(1)
		if k.CurrentNode() != 1 || n > 3 {
			return nil, nil, false
		}
		resp, _ := req.ResponseKind().(*kmsg.MetadataResponse)
		topic := kmsg.NewMetadataResponseTopic()
		topic.Topic, topic.ErrorCode = req.Topics[0].Topic, kerr.UnknownTopicOrPartition.Code
		resp.Topics = append(resp.Topics, topic)
		return resp, nil, true
	})
	kafka.AwaitEverywhere(soon(t), cl, "orders")
	require.EqualValues(t, 4, asked[1].Load(), "until it knows the topic")
	require.Positive(t, asked[0].Load())
	require.Positive(t, asked[2].Load())
}
