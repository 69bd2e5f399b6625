package integration

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
	"github.com/stretchr/testify/require"
	"github.com/testcontainers/testcontainers-go"
	tcnetwork "github.com/testcontainers/testcontainers-go/network"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
)

const (
	clusterNodes  = 3
	clusterIDText = "ZHVwbGV4LXRocmVlLW5vZA" // any 16 bytes in base64
)

// threeNodes gives the cluster of three brokers that the fault tests share. They
// run one after the other, and each leaves all brokers at work. Internal topics,
// and those that newTopic makes, have three replicas, of which two must have a
// record before it is acknowledged.
func threeNodes(t *testing.T) *kafkaCluster {
	t.Helper()
	if err := engineMissing(); err != nil {
		withoutKafka(t, err)
	}
	c, err := oneCluster.get()
	require.NoError(t, err)
	c.inSync(t)
	return c
}

// oneCluster is the cluster behind threeNodes.
var oneCluster = shared[*kafkaCluster]{start: startCluster, within: 2 * startTimeout}

// kafkaCluster is three brokers, each a controller too, in containers of their own
// on a network of their own.
type kafkaCluster struct {
	nodes   []*kafkaNode // node i has the ID i+1
	network *testcontainers.DockerNetwork
}

func startCluster(ctx context.Context) (*kafkaCluster, error) {
	if err := sweepNetworks(ctx); err != nil {
		return nil, err
	}
	n, err := tcnetwork.New(ctx, tcnetwork.WithLabels(labels()))
	if err != nil {
		return nil, fmt.Errorf("making a network: %w", err)
	}
	c := &kafkaCluster{network: n}
	for i := range clusterNodes {
		node, err := c.launch(ctx, i+1)
		if node != nil {
			c.nodes = append(c.nodes, node)
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("starting broker %d of %d: %w", i+1, clusterNodes, err), c.remove(context.WithoutCancel(ctx)))
		}
	}
	for _, node := range c.nodes {
		if err := node.answers(ctx); err != nil {
			return nil, errors.Join(err, c.remove(context.WithoutCancel(ctx)))
		}
	}
	return c, nil
}

// launch starts a broker and does not wait for it: it answers when most are there.
func (c *kafkaCluster) launch(ctx context.Context, id int) (*kafkaNode, error) {
	host, err := freePort()
	if err != nil {
		return nil, err
	}
	n := &kafkaNode{listeners: []listener{{name: plaintext, protocol: plaintext, port: firstPort, hostPort: host}}}
	inside := strconv.Itoa(firstPort) + "/tcp"
	bindings := network.PortMap{network.MustParsePort(inside): {{HostIP: netip.MustParseAddr(loopback), HostPort: strconv.Itoa(host)}}}
	n.container, err = testcontainers.Run(ctx, image(),
		testcontainers.WithExposedPorts(inside),
		testcontainers.WithHostConfigModifier(func(h *container.HostConfig) { h.PortBindings = bindings }),
		testcontainers.WithEnv(c.settings(n, id)),
		testcontainers.WithCmd("/bin/bash", "-c", startCommand),
		testcontainers.WithLabels(labels()),
		tcnetwork.WithNetwork([]string{alias(id)}, c.network),
	)
	if n.container == nil {
		return nil, err
	}
	return n, err
}

// alias is what the other brokers call a broker.
func alias(id int) string { return "kafka-" + strconv.Itoa(id) }

func (c *kafkaCluster) settings(n *kafkaNode, id int) map[string]string {
	env := n.settings()
	var voters []string
	for other := range clusterNodes {
		voters = append(voters, fmt.Sprintf("%d@%s:9093", other+1, alias(other+1)))
	}
	for _, name := range []string{
		"KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR", "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR",
		"KAFKA_SHARE_COORDINATOR_STATE_TOPIC_REPLICATION_FACTOR", "KAFKA_DEFAULT_REPLICATION_FACTOR",
	} {
		env[name] = strconv.Itoa(clusterNodes)
	}
	for _, name := range []string{
		"KAFKA_TRANSACTION_STATE_LOG_MIN_ISR", "KAFKA_SHARE_COORDINATOR_STATE_TOPIC_MIN_ISR", "KAFKA_MIN_INSYNC_REPLICAS",
	} {
		env[name] = strconv.Itoa(clusterNodes - 1)
	}
	env["CLUSTER_ID"] = clusterIDText
	env["KAFKA_NODE_ID"] = strconv.Itoa(id)
	env["KAFKA_CONTROLLER_QUORUM_VOTERS"] = strings.Join(voters, ",")
	env["KAFKA_LISTENERS"] = strings.ReplaceAll(env["KAFKA_LISTENERS"], "INTERNAL://localhost:", "INTERNAL://:")
	env["KAFKA_ADVERTISED_LISTENERS"] = strings.ReplaceAll(env["KAFKA_ADVERTISED_LISTENERS"], "localhost", alias(id))
	env["KAFKA_REPLICA_LAG_TIME_MAX_MS"] = "5000"
	env["KAFKA_MESSAGE_MAX_BYTES"] = strconv.Itoa(16 << 20)
	// Members of the new protocol are missed as soon as those of the old one.
	env["KAFKA_GROUP_CONSUMER_SESSION_TIMEOUT_MS"] = strconv.FormatInt(sessionTimeout.Milliseconds(), 10)
	env["KAFKA_GROUP_CONSUMER_HEARTBEAT_INTERVAL_MS"] = "500"
	return env
}

// Cluster is the way in, by all brokers.
func (c *kafkaCluster) Cluster() duplex.Cluster {
	var all duplex.Cluster
	for _, n := range c.nodes {
		all.Brokers = append(all.Brokers, n.address(plaintext))
	}
	return all
}

// leader is the broker that leads the partition.
func (c *kafkaCluster) leader(t *testing.T, topic string, partition int32) *kafkaNode {
	t.Helper()
	cl := rawClient(t, c.Cluster())
	defer cl.Close()
	found, err := kadm.NewClient(cl).ListTopics(t.Context(), topic)
	require.NoError(t, err)
	return c.nodes[found[topic].Partitions[partition].Leader-1]
}

// lead has a broker lead a partition.
func (c *kafkaCluster) lead(t *testing.T, n *kafkaNode, topic string, partition int32) {
	t.Helper()
	cl := rawClient(t, c.Cluster())
	defer cl.Close()
	admin := kadm.NewClient(cl)
	found, err := admin.ListTopics(t.Context(), topic)
	require.NoError(t, err)
	id := int32(slices.Index(c.nodes, n) + 1)
	replicas := slices.DeleteFunc(slices.Clone(found[topic].Partitions[partition].Replicas), func(r int32) bool { return r == id })
	var to kadm.AlterPartitionAssignmentsReq
	to.Assign(topic, partition, append([]int32{id}, replicas...))
	_, err = admin.AlterPartitionAssignments(t.Context(), to)
	require.NoError(t, err)
	set := kadm.TopicsSet{}
	set.Add(topic, partition)
	require.Eventually(t, func() bool {
		_, err = admin.ElectLeaders(t.Context(), kadm.ElectPreferredReplica, set)
		return err == nil && c.leader(t, topic, partition) == n
	}, faultTimeout, 100*time.Millisecond, "broker %d does not get to lead %s/%d", id, topic, partition)
}

// coordinator is the broker that keeps the group.
func (c *kafkaCluster) coordinator(t *testing.T, group string) *kafkaNode {
	t.Helper()
	cl := rawClient(t, c.Cluster())
	defer cl.Close()
	found := kadm.NewClient(cl).FindGroupCoordinators(t.Context(), group)
	require.NoError(t, found.Error())
	return c.nodes[found[group].NodeID-1]
}

// inSync waits until every replica of every partition has what its leader has.
func (c *kafkaCluster) inSync(t *testing.T) {
	t.Helper()
	cl := rawClient(t, c.Cluster())
	defer cl.Close()
	admin := kadm.NewClient(cl)
	require.Eventually(t, func() bool {
		meta, err := admin.Metadata(t.Context())
		if err != nil || len(meta.Brokers) < clusterNodes {
			return false
		}
		for _, topic := range meta.Topics {
			for _, p := range topic.Partitions {
				if p.Err != nil || len(p.ISR) < len(p.Replicas) {
					return false
				}
			}
		}
		return true
	}, startTimeout, 100*time.Millisecond, "the brokers do not come together")
}

func (c *kafkaCluster) remove(ctx context.Context) error {
	var errs []error
	for _, n := range c.nodes {
		errs = append(errs, n.remove(ctx))
	}
	if err := c.network.Remove(ctx); err != nil {
		errs = append(errs, fmt.Errorf("removing the network: %w", err))
	}
	return errors.Join(errs...)
}

// sweepNetworks removes the networks of earlier runs that were killed; sweep has
// removed their containers.
func sweepNetworks(ctx context.Context) error {
	return withEngine(ctx, func(engine client.APIClient) error {
		list, err := engine.NetworkList(ctx, client.NetworkListOptions{Filters: make(client.Filters).Add("label", labelHost+"="+hostname())})
		if err != nil {
			return fmt.Errorf("listing networks of earlier runs: %w", err)
		}
		for _, n := range list.Items {
			if !alive(n.Labels[labelPID]) {
				// Another run may be removing it at the same time.
				_, _ = engine.NetworkRemove(ctx, n.ID, client.NetworkRemoveOptions{})
			}
		}
		return nil
	})
}

// The cluster is what the fault tests take it for: a broker that is killed takes
// nothing with it, and comes back.
func TestThreeBrokersOutliveOne(t *testing.T) {
	c := threeNodes(t)
	topic := newTopic(t, c.Cluster(), 3)
	cl := rawClient(t, c.Cluster())
	publish := func() error {
		for range 10 {
			if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Key: []byte("k"), Value: []byte("v")}).FirstErr(); err != nil {
				return err
			}
		}
		return nil
	}
	require.NoError(t, publish())
	leader := c.leader(t, topic, 0)
	leader.Kill(t)
	require.NoError(t, publish())
	require.Equal(t, int64(20), logSize(t, c.Cluster(), topic))
	leader.Start(t)
	c.inSync(t)
}
