package integration

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
	"github.com/stretchr/testify/require"
	"github.com/testcontainers/testcontainers-go"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
)

const (
	startTimeout = 90 * time.Second
	faultTimeout = 20 * time.Second
)

// cluster gives the Kafka that the tests of this run share: DUPLEX_TEST_BROKERS,
// or one container for all of them. Tests use topics and groups of their own.
func cluster(t *testing.T) duplex.Cluster {
	t.Helper()
	if given := givenBrokers(); len(given) > 0 {
		return duplex.Cluster{Brokers: given}
	}
	if err := engineMissing(); err != nil {
		withoutKafka(t, err)
	}
	n, err := oneNode.get()
	require.NoError(t, err)
	return n.Cluster()
}

// oneNode is the container behind cluster.
var oneNode = shared[*kafkaNode]{
	start:  func(ctx context.Context) (*kafkaNode, error) { return startNode(ctx) },
	within: startTimeout,
}

// kafkaNode is one broker in a container of its own, on ports that survive a
// restart.
type kafkaNode struct {
	container testcontainers.Container
	listeners []listener
}

// node starts a broker for one test to break, and removes it when the test ends.
func node(t *testing.T, extra ...listener) *kafkaNode {
	t.Helper()
	if err := engineMissing(); err != nil {
		withoutKafka(t, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	n, err := startNode(ctx, extra...)
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), faultTimeout)
		defer cancel()
		require.NoError(t, n.remove(ctx))
	})
	return n
}

// Cluster is the way in without encryption and credentials.
func (n *kafkaNode) Cluster() duplex.Cluster {
	return duplex.Cluster{Brokers: []string{n.address(plaintext)}}
}

// address is where the listener of that name can be reached.
func (n *kafkaNode) address(name string) string {
	for _, l := range n.listeners {
		if l.name == name {
			return net.JoinHostPort(loopback, strconv.Itoa(l.hostPort))
		}
	}
	return ""
}

// Kill ends the broker at once, as kill -9 does. Its data stay.
func (n *kafkaNode) Kill(t *testing.T) {
	t.Helper()
	n.fault(t, func(ctx context.Context, engine client.APIClient, id string) error {
		if _, err := engine.ContainerKill(ctx, id, client.ContainerKillOptions{Signal: "KILL"}); err != nil {
			return err
		}
		wait := engine.ContainerWait(ctx, id, client.ContainerWaitOptions{Condition: container.WaitConditionNotRunning})
		select {
		case err := <-wait.Error:
			return err
		case <-wait.Result:
			return nil
		}
	})
}

// Start brings a killed broker back on its data, and waits until it answers.
func (n *kafkaNode) Start(t *testing.T) {
	t.Helper()
	n.fault(t, func(ctx context.Context, engine client.APIClient, id string) error {
		_, err := engine.ContainerStart(ctx, id, client.ContainerStartOptions{})
		return err
	})
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	require.NoError(t, n.answers(ctx))
}

// Pause freezes the broker, as SIGSTOP does: connections stay open and nothing
// answers.
func (n *kafkaNode) Pause(t *testing.T) {
	t.Helper()
	n.fault(t, func(ctx context.Context, engine client.APIClient, id string) error {
		_, err := engine.ContainerPause(ctx, id, client.ContainerPauseOptions{})
		return err
	})
}

// Unpause lets a frozen broker go on.
func (n *kafkaNode) Unpause(t *testing.T) {
	t.Helper()
	n.fault(t, func(ctx context.Context, engine client.APIClient, id string) error {
		_, err := engine.ContainerUnpause(ctx, id, client.ContainerUnpauseOptions{})
		return err
	})
}

func (n *kafkaNode) fault(t *testing.T, inject func(ctx context.Context, engine client.APIClient, id string) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), faultTimeout)
	defer cancel()
	require.NoError(t, withEngine(ctx, func(engine client.APIClient) error {
		return inject(ctx, engine, n.container.GetContainerID())
	}))
}

func (n *kafkaNode) remove(ctx context.Context) error {
	return withEngine(ctx, func(engine client.APIClient) error {
		// By force: a paused container cannot be stopped, and nobody wants its data.
		_, err := engine.ContainerRemove(ctx, n.container.GetContainerID(), client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
		if err != nil {
			return fmt.Errorf("removing the broker's container: %w", err)
		}
		return nil
	})
}

// startCommand runs the image's own script at the first start. That formats the
// data directory, which not every build of the image bears a second time.
const startCommand = `if [ -e /tmp/formatted ]; then
  exec java $KAFKA_HEAP_OPTS -cp "/opt/kafka/libs/*" kafka.Kafka /opt/kafka/config/server.properties
fi
touch /tmp/formatted
exec /etc/kafka/docker/run`

func startNode(ctx context.Context, extra ...listener) (*kafkaNode, error) {
	const tries = 3 // somebody may take a port between finding and binding it
	var err error
	for range tries {
		var n *kafkaNode
		if n, err = tryNode(ctx, extra); err == nil {
			return n, nil
		}
		if !strings.Contains(err.Error(), "port is already allocated") && !strings.Contains(err.Error(), "address already in use") {
			break
		}
	}
	return nil, fmt.Errorf("starting a broker: %w", err)
}

func tryNode(ctx context.Context, extra []listener) (*kafkaNode, error) {
	n := &kafkaNode{listeners: append([]listener{{name: plaintext, protocol: plaintext}}, extra...)}
	bindings, exposed := network.PortMap{}, []string{}
	for i := range n.listeners {
		host, err := freePort()
		if err != nil {
			return nil, err
		}
		n.listeners[i].port, n.listeners[i].hostPort = firstPort+2*i, host
		inside := strconv.Itoa(n.listeners[i].port) + "/tcp"
		exposed = append(exposed, inside)
		bindings[network.MustParsePort(inside)] = []network.PortBinding{{
			HostIP: netip.MustParseAddr(loopback), HostPort: strconv.Itoa(host),
		}}
	}
	c, err := testcontainers.Run(ctx, image(),
		testcontainers.WithExposedPorts(exposed...),
		testcontainers.WithHostConfigModifier(func(h *container.HostConfig) { h.PortBindings = bindings }),
		testcontainers.WithEnv(n.settings()),
		testcontainers.WithCmd("/bin/bash", "-c", startCommand),
		testcontainers.WithLabels(labels()),
	)
	n.container = c
	if err == nil {
		err = n.answers(ctx)
	}
	if err != nil && c != nil {
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), faultTimeout)
		defer cancel()
		return nil, errors.Join(err, n.remove(clean))
	}
	return n, err
}

// answers waits until the broker lists itself, or has stopped.
func (n *kafkaNode) answers(ctx context.Context) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ping(ctx, n.Cluster().Brokers)
		if err == nil {
			return nil
		}
		if state, stateErr := n.container.State(ctx); stateErr == nil && !state.Running {
			return fmt.Errorf("the broker stopped with exit code %d:\n%s", state.ExitCode, n.logTail(ctx))
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("the broker does not answer: %w: %w", context.Cause(ctx), err)
		}
	}
}

// ping asks a broker whether it is there, and waits a second for the answer.
func ping(ctx context.Context, brokers []string) error {
	const patience = time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	// kgo's Ping does not look at ctx while it opens a connection.
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.RequestRetries(0),
		kgo.DialTimeout(patience), kgo.RequestTimeoutOverhead(patience))
	if err != nil {
		return err
	}
	defer cl.Close()
	return cl.Ping(ctx)
}

func (n *kafkaNode) logTail(ctx context.Context) string {
	r, err := n.container.Logs(ctx)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = r.Close() }()
	const most = 4 << 10
	all, _ := io.ReadAll(r) // what could be read says more than why the rest could not
	return string(all[max(0, len(all)-most):])
}
