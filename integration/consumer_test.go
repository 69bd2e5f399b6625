package integration

import (
	"errors"
	"fmt"
	"io"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/duplex-go/duplex"
)

// load is a producer program that publishes departures until it is stopped.
type load struct {
	t       *testing.T
	program *process
	stopped chan struct{}
	written int
	done    chan struct{} // closed when written is final
}

// feed starts a load of some departures each millisecond.
func feed(t *testing.T, c duplex.Cluster, topic string, each int) *load {
	t.Helper()
	l := &load{
		t: t, stopped: make(chan struct{}), done: make(chan struct{}),
		program: start(t, "producer", to(c, "--topic", topic, "--key-field", "origin", "--json")...),
	}
	go l.run(each)
	t.Cleanup(func() { _ = l.program.cmd.Process.Kill(); <-l.done })
	return l
}

func (l *load) run(each int) {
	defer close(l.done)
	defer func() { _ = l.program.Stdin.Close() }()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-l.stopped:
			return
		case <-tick.C:
		}
		for range each {
			if _, err := io.WriteString(l.program.Stdin, departure(l.written)); err != nil {
				return // the program has ended
			}
			l.written++
		}
	}
}

// stop ends the load and returns how many departures were published: all.
func (l *load) stop() int {
	l.t.Helper()
	close(l.stopped)
	require.Equal(l.t, 0, l.program.wait(l.t), l.program.stderr.String())
	<-l.done
	require.Equal(l.t, l.written, parseSummary(l.t, l.program.stdout.String()).Published)
	return l.written
}

// committed are the group's offsets by partition; an error may pass, such as that
// of a group's first moments.
func committed(t *testing.T, c duplex.Cluster, group, topic string) (map[int32]int64, error) {
	t.Helper()
	cl := rawClient(t, c)
	defer cl.Close()
	offsets, err := kadm.NewClient(cl).FetchOffsets(t.Context(), group)
	at := map[int32]int64{}
	for p, o := range offsets[topic] {
		err = errors.Join(err, o.Err)
		at[p] = o.At
	}
	return at, err
}

func total(offsets map[int32]int64) (n int64) {
	for _, at := range offsets {
		n += at
	}
	return n
}

// C2, C5: what a killed process had not committed comes again, and nothing else.
func TestKilledConsumerRepeatsOnlyWhatItHadNotCommitted(t *testing.T) {
	t.Parallel()
	c, group := cluster(t), unique(t)
	topic := newTopic(t, c, 3)
	args := to(c, "--topic", topic, "--group", group, "--session-timeout", "6s")
	first := start(t, "consumer", args...)
	load := feed(t, c, topic, 4)
	require.Eventually(t, func() bool {
		at, err := committed(t, c, group, topic)
		return err == nil && total(at) > 2000
	}, time.Minute, 50*time.Millisecond)
	first.signal(t, syscall.SIGKILL)
	require.Equal(t, -1, first.wait(t))
	kept, err := committed(t, c, group, topic)
	require.NoError(t, err)
	records := load.stop()

	stdout, stderr, code := run(t, "consumer", append(args, "--until-end"), "")
	require.Equal(t, 0, code, stderr)
	before := parseLines(t, first.stdout.lines())
	require.Less(t, len(before), records, "it was to be killed in the middle")
	seen := map[duplex.Position]string{}
	for _, l := range before {
		seen[duplex.Position{Partition: l.Partition, Offset: l.Offset}] = *l.Value
	}
	repeats := 0
	for _, l := range parseLines(t, split(stdout)) {
		at := duplex.Position{Partition: l.Partition, Offset: l.Offset}
		if _, again := seen[at]; again {
			repeats++
		}
		require.GreaterOrEqual(t, l.Offset, kept[l.Partition], "partition %d: a committed record came again", l.Partition)
		seen[at] = *l.Value
	}
	require.Equal(t, records, len(seen), "records were lost")
	require.LessOrEqual(t, int64(repeats), int64(len(before))-total(kept))
	t.Logf("%d printed before the kill, %d of them committed, %d repeats", len(before), total(kept), repeats)
}

// C5: three processes are replaced one after the other while records flow, and
// their outputs together are each record once.
func TestRollingRestartOfProcessesRepeatsNothing(t *testing.T) {
	t.Parallel()
	c, group := cluster(t), unique(t)
	topic := newTopic(t, c, 6)
	join := func() *process {
		return start(t, "consumer", to(c, "--topic", topic, "--group", group, "--session-timeout", "6s")...)
	}
	members := []*process{join(), join(), join()}
	all := append([]*process(nil), members...)
	printed := func() (n int) {
		for _, m := range all {
			n += len(m.stdout.lines())
		}
		return n
	}
	load := feed(t, c, topic, 3)
	flows := func(n int) {
		from := printed()
		requireMembers(t, c, group, n)
		require.Eventually(t, func() bool {
			for _, m := range members {
				if len(m.stdout.lines()) == 0 {
					return false
				}
			}
			return printed() > from+500
		}, time.Minute, 20*time.Millisecond, "not all of the members print records")
	}
	for i := range members {
		flows(3)
		members[i].signal(t, syscall.SIGTERM)
		require.Equal(t, 0, members[i].wait(t), members[i].stderr.String())
		flows(2) // or the new one would get what the old one had, and nobody gave anything away
		members[i] = join()
		all = append(all, members[i])
	}
	flows(3)
	records := load.stop()
	require.Eventually(t, func() bool { return printed() >= records }, time.Minute, 50*time.Millisecond)
	var lines []line
	for _, m := range all {
		m.signal(t, syscall.SIGTERM)
		require.Equal(t, 0, m.wait(t), m.stderr.String())
		lines = append(lines, parseLines(t, m.stdout.lines())...)
	}
	times := map[string]int{}
	for _, v := range values(lines) {
		times[v]++
	}
	require.Equal(t, records, len(times), "records were lost")
	require.Equal(t, records, len(lines), "records were repeated")
	requireCommittedToTheEnd(t, c, group, topic)
}

// requireMembers waits until the group has n members and is at rest.
func requireMembers(t *testing.T, c duplex.Cluster, group string, n int) {
	t.Helper()
	admin := kadm.NewClient(rawClient(t, c))
	var last string
	require.Eventually(t, func() bool {
		groups, err := admin.DescribeGroups(t.Context(), group)
		g := groups[group]
		last = fmt.Sprintf("%d members, %s, %v", len(g.Members), g.State, err)
		return err == nil && g.Err == nil && g.State == "Stable" && len(g.Members) == n
	}, time.Minute, 50*time.Millisecond, "the group does not come to rest: %s", last)
}
