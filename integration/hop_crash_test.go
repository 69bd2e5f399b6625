package integration

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/dlq"
	hist "github.com/duplex-go/duplex/internal/history"
)

// hopStep is one way on for a record, and the key of one that goes it.
type hopStep struct {
	name, key string
	from, to  int   // 0 the source, 1 and 2 the retry topics, 3 the queue
	hops      int64 // that the record has then made
}

func hopSteps() []hopStep {
	return []hopStep{
		{"source to retry 1", keyOnce, 0, 1, 1},
		{"retry 1 to retry 2", keyTwice, 1, 2, 2},
		{"retry 2 to the queue", keyAlways, 2, 3, 3},
		{"source to the queue", keyPermanent, 0, 3, 1},
	}
}

// hopPoints are all points, and what a kill at each brings about: how many more
// copies of the record there are in the topic that it goes to, and how often its
// handler runs again where it had failed; −1 where it is for the network to say.
func hopPoints() []struct {
	at             point
	copies, repeat int
} {
	return []struct {
		at             point
		copies, repeat int
	}{
		{beforePublish, 0, 1},
		{publishHeld, -1, 1},
		{publishSent, -1, 1},
		{publishStored, 1, 1},
		{publishCounted, 1, 1},
		{beforeCommit, 1, 1},
		{commitSent, -1, -1},
		{commitStored, 0, 0},
		{commitCounted, 0, 0},
	}
}

// travellerAt is where the record is in the source, among those that do not fail.
const travellerAt = 3

// hopCase is one kill.
type hopCase struct {
	t              *testing.T
	cluster        duplex.Cluster
	step           hopStep
	at             point
	copies, repeat int

	topic, group string
	topics       [4]string // the source, the retry topics, the queue
	settings     hopSettings
	process      *process
	histories    []string
	keys         []string
	knew         map[int]groupState // what the group had of each topic after the kill
}

// R1, R2, C12: a process is killed at every point of every hop. Each record ends in
// exactly one way, and is there twice only where the kill came between the
// acknowledgement of the broker and the commit.
func TestKillsAtEveryPointOfAHop(t *testing.T) {
	c := cluster(t)
	cl := rawClient(t, c, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	var cases []*hopCase
	for _, step := range hopSteps() {
		for _, p := range hopPoints() {
			h := &hopCase{t: t, cluster: c, step: step, at: p.at, copies: p.copies, repeat: p.repeat}
			h.prepare(cl, len(cases))
			cases = append(cases, h)
		}
	}
	began := time.Now()
	for _, h := range cases {
		h.start(h.at)
	}
	for _, h := range cases {
		require.Equal(t, -1, h.process.wait(t), "%s: %s: it was to be killed: %s", h.step.name, h.at, h.process.stderr.tail())
		h.expel(cl)
		h.remember(cl)
	}
	t.Logf("%d processes killed after %s", len(cases), time.Since(began))
	for _, h := range cases {
		h.start("")
	}
	for _, h := range cases {
		h.ended(cl)
	}
	for _, h := range cases {
		require.Equal(t, 0, h.process.wait(t), "%s: %s: %s", h.step.name, h.at, h.process.stderr.tail())
	}
	t.Logf("all done after %s", time.Since(began))
	table := []string{fmt.Sprintf("%-22s %-38s %7s %7s %7s", "step", "killed", "copies", "again", "others")}
	for _, h := range cases {
		table = append(table, h.check())
	}
	t.Log("what a kill repeats: copies of the record in the topic it goes to, runs of it again, runs of others again\n" + strings.Join(table, "\n"))
}

// prepare makes the topics of a case and publishes its records.
func (h *hopCase) prepare(cl *kgo.Client, n int) {
	h.t.Helper()
	name := fmt.Sprintf("%s-%d", unique(h.t), n)
	h.topic, h.group = name, name
	h.topics = [4]string{h.topic, dlq.RetryTopic(h.group, h.topic, 1), dlq.RetryTopic(h.group, h.topic, 2), dlq.DeadTopic(h.group, h.topic)}
	all := append([]string{dlq.RedriveTopic(h.group, h.topic)}, h.topics[:]...)
	made, err := kadm.NewClient(cl).CreateTopics(h.t.Context(), 1, -1, nil, all...)
	require.NoError(h.t, err)
	require.NoError(h.t, made.Error())
	h.settings = hopSettings{
		Brokers: h.cluster.Brokers, Topic: h.topic, Group: h.group, Chain: h.topics, Topics: map[string]string{},
		From: h.topics[h.step.from], To: h.topics[h.step.to], Hops: h.step.hops,
	}
	if h.step.from == 0 {
		h.settings.Offset = travellerAt
	}
	for topic, resp := range made {
		h.settings.Topics[hex.EncodeToString(resp.ID[:])] = topic
	}
	h.keys = []string{keyFine + ":0", keyFine + ":1", keyDropped + ":2", h.step.key + ":3", keyFine + ":4", keyFine + ":5"}
	for _, key := range h.keys {
		require.NoError(h.t, cl.ProduceSync(h.t.Context(), &kgo.Record{Topic: h.topic, Key: []byte(key), Value: []byte(key)}).FirstErr())
	}
}

func (h *hopCase) start(at point) {
	h.t.Helper()
	s := h.settings
	s.Name, s.Point, s.CommitInterval, s.SessionTimeout = fmt.Sprintf("p%d", len(h.histories)+1), at, 100*time.Millisecond, sessionTimeout
	if at != "" { // nothing but its point is to end it, however slow the machine is
		s.CommitInterval, s.SessionTimeout = commitInterval, 2*exitTimeout
	}
	s.History = filepath.Join(h.t.TempDir(), s.Name)
	h.histories = append(h.histories, s.History)
	text, err := json.Marshal(s)
	require.NoError(h.t, err)
	h.process = startPath(h.t, os.Args[0], []string{"-test.run=^TestHopProcess$", "-test.timeout=0"},
		[]string{helperVariable + "=hop", hopVariable + "=" + string(text)})
}

// expel takes the member that was killed out of its group, as the end of its session
// would.
func (h *hopCase) expel(cl *kgo.Client) {
	h.t.Helper()
	groups, err := kadm.NewClient(cl).DescribeGroups(h.t.Context(), h.group)
	require.NoError(h.t, err)
	require.Len(h.t, groups[h.group].Members, 1)
	leave := kmsg.NewPtrLeaveGroupRequest()
	leave.Group = h.group
	member := kmsg.NewLeaveGroupRequestMember()
	member.MemberID = groups[h.group].Members[0].MemberID
	leave.Members = append(leave.Members, member)
	resp, err := leave.RequestWith(h.t.Context(), cl)
	require.NoError(h.t, err)
	require.NoError(h.t, kerr.ErrorForCode(resp.ErrorCode))
	require.Len(h.t, resp.Members, 1)
	require.NoError(h.t, kerr.ErrorForCode(resp.Members[0].ErrorCode))
}

// remember keeps what the group has committed.
func (h *hopCase) remember(cl *kgo.Client) {
	h.t.Helper()
	offsets := requireOffsets(h.t, kadm.NewClient(cl), h.group)
	h.knew = map[int]groupState{}
	for i, topic := range h.topics {
		if at, some := offsets.Lookup(topic, 0); some {
			h.knew[i] = groupState{time.Now(), at.At, at.Metadata}
		}
	}
}

// ended waits until everything is committed, and has the process stop.
func (h *hopCase) ended(cl *kgo.Client) {
	h.t.Helper()
	admin := kadm.NewClient(cl)
	var missing string
	require.Eventually(h.t, func() bool {
		missing = ended(h.t.Context(), admin, h.group, h.topics[:3]...)
		return missing == ""
	}, groupPatience, 100*time.Millisecond, "%s: %s: not everything was handled: %s", h.step.name, h.at, printed{func() any { return missing }})
	h.process.signal(h.t, syscall.SIGTERM)
}

// hopRun is where a record ran.
type hopRun struct {
	topic  string
	offset int64
}

// check compares what happened with what is to, and gives the line of the table.
func (h *hopCase) check() string {
	h.t.Helper()
	what := h.step.name + ": " + string(h.at)
	finished, runs := map[string]int{}, map[hopRun]int{}
	for n, path := range h.histories {
		for _, e := range readEvents(h.t, path) {
			at := hopRun{e.Topic, e.Offset}
			switch e.Kind {
			case hist.Started:
				runs[at]++
				require.False(h.t, n > 0 && h.knows(at), "%s: %v ran again, and was committed", what, at)
			case hist.Finished:
				finished[e.Key]++
			default:
			}
		}
	}
	dead := letters(h.t, h.cluster, h.topics[3])
	for offset, key := range h.keys {
		id := dead.idOf(h.topic, 0, int64(offset))
		if kind, _, _ := strings.Cut(key, ":"); kind == keyAlways || kind == keyPermanent {
			require.Zero(h.t, finished[key], "%s: %s was handled", what, key)
			require.NotEmpty(h.t, dead.copies[id], "%s: %s was lost", what, key)
			require.Len(h.t, dead.copies[id], 1, "%s: %s: dead letters of different attempts", what, key)
			continue
		}
		require.Positive(h.t, finished[key], "%s: %s was lost", what, key)
		require.Empty(h.t, dead.copies[id], "%s: %s was handled, and is a dead letter", what, key)
	}
	require.Len(h.t, dead.copies, dead.known, "%s: dead letters of nobody", what)
	copies := max(int(logSize(h.t, h.cluster, h.settings.To))-1, 0)
	again := runs[hopRun{h.settings.From, h.settings.Offset}] - 1
	others := 0
	for at, n := range runs {
		if at.topic == h.topic && at.offset != travellerAt {
			others += n - 1
		}
	}
	line := fmt.Sprintf("%-22s %-38s %7d %7d %7d", h.step.name, h.at, copies, again, others)
	if h.counted() { // it went on in its place then, from the next attempt
		return line + "  its failure was committed"
	}
	require.NotEqual(h.t, publishHeld, h.at, "%s: its failure was not committed", what)
	h.requireRepeats(what, "copies", h.copies, copies)
	h.requireRepeats(what, "runs again", h.repeat, again)
	return line
}

// counted reports whether the failure of the record was committed before the kill, and
// not the hop: it goes on from the next attempt then, in its place.
func (h *hopCase) counted() bool {
	return failedAt(h.knew[h.step.from].meta, h.settings.Offset)
}

func (h *hopCase) requireRepeats(what, of string, want, got int) {
	h.t.Helper()
	if want >= 0 {
		require.Equal(h.t, want, got, "%s: %s", what, of)
		return
	}
	require.Contains(h.t, []int{0, 1}, got, "%s: %s", what, of)
}

func (h *hopCase) knows(at hopRun) bool {
	for i, topic := range h.topics {
		if state, some := h.knew[i]; some && topic == at.topic {
			return state.finished(at.offset)
		}
	}
	return false
}
