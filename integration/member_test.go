package integration

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"os/signal"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/consumer"
	hist "github.com/duplex-go/duplex/internal/history"
)

const (
	memberVariable = "INTEGRATION_MEMBER"

	// sessionTimeout is that of members: a group misses a dead one after it.
	sessionTimeout = 6 * time.Second
	// commitInterval is that of members, the default.
	commitInterval = time.Second
	// waitingKeys is how the keys begin whose first record fails at first, and then
	// waits for as long as memberSettings.Wait says.
	waitingKeys = "waits-"
)

// memberSettings describe a member of a group, a process of its own.
type memberSettings struct {
	Name, History string // its name, and the file for what it does
	Brokers       []string
	Gate          string // what to dial through, if not empty
	Topic, Group  string
	KIP848        bool
	Concurrency   int
	WorkLeast     time.Duration // what a handler takes,
	WorkMost      time.Duration // by the hash of the offset
	FailPercent   uint32        // first attempts that fail, by the same hash
	Wait          time.Duration // after a failure, for the keys that begin with waitingKeys
	WaitWork      time.Duration // what their handlers take
	MaxLoaded     int
	MaxBytes      int64
	RetryMax      time.Duration
}

// memberProcess is what the program keeps.
type memberProcess struct {
	settings memberSettings
	recorder *hist.Recorder
	consumer *consumer.Consumer
	failing  atomic.Bool // every handler fails
	working  sync.Once
	waited   sync.Map // the keys that waited
}

// TestMemberProcess is a program for the fault tests: a member of a group that
// writes its history. It takes "fail", "work" and "status" on its input, and stops
// at SIGTERM.
func TestMemberProcess(t *testing.T) {
	text := os.Getenv(memberVariable)
	if text == "" {
		t.Skip("only a program for the other tests")
	}
	if err := runMemberProcess(text); err != nil {
		fmt.Fprintln(os.Stderr, "member:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func runMemberProcess(text string) error {
	m := &memberProcess{}
	if err := json.Unmarshal([]byte(text), &m.settings); err != nil {
		return err
	}
	s := &m.settings
	var err error
	if m.recorder, err = hist.Create(s.History); err != nil {
		return err
	}
	cfg := consumer.Config{
		Cluster: duplex.Cluster{Brokers: s.Brokers}, Group: s.Group, Ordering: consumer.ByKey, Concurrency: s.Concurrency,
		Handlers:       []consumer.Handler{consumer.HandleRecord(s.Topic, m.handle)},
		CommitInterval: commitInterval, SessionTimeout: sessionTimeout, RetryMax: s.RetryMax, MaxLoaded: s.MaxLoaded, MaxLoadedBytes: s.MaxBytes,
	}
	if s.Gate != "" {
		cfg.Cluster.Dial = through(s.Gate)
	}
	cfg.Cluster = m.watchCommits().Watch(cfg.Cluster)
	if s.KIP848 {
		cfg.Protocol = consumer.KIP848
	}
	if m.consumer, err = consumer.New(cfg); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	fmt.Println("ready")
	go m.obey()
	return errors.Join(m.consumer.Run(ctx), m.recorder.Close())
}

// obey does what the test wants, until the process ends.
func (m *memberProcess) obey() {
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		switch in.Text() {
		case "fail":
			m.failing.Store(true)
			fmt.Println("fails")
		case "work":
			m.failing.Store(false)
			fmt.Println("works")
		case "status":
			text, err := json.Marshal(m.consumer.Status())
			if err != nil {
				text = []byte(err.Error())
			}
			fmt.Printf("status %s\n", text)
		}
	}
}

var errFails = errors.New("fails as it should")

func (m *memberProcess) handle(ctx context.Context, r *kgo.Record) error {
	attempt := consumer.FromContext(ctx).Attempt
	run := hist.Of(r, m.settings.Name, attempt)
	if err := m.recorder.Record(run.Started()); err != nil {
		return err
	}
	m.working.Do(func() { fmt.Println("working") })
	luck := luckOf(r)
	if takes := m.takes(r, luck); takes > 0 {
		// Work that does not look at its context: what it did counts or not, the
		// checker finds out.
		<-time.NewTimer(takes).C
	}
	switch wait, fails := m.verdict(r, luck, attempt); {
	case !fails:
		return m.recorder.Record(run.Finished())
	case wait > 0:
		due := time.Now().Add(wait)
		return errors.Join(m.recorder.Record(run.Failed(due)), duplex.RetryAfter(wait, errFails))
	default:
		return errors.Join(m.recorder.Record(run.Failed(time.Time{})), errFails)
	}
}

// takes is how long the handler is at work.
func (m *memberProcess) takes(r *kgo.Record, luck uint32) time.Duration {
	s := &m.settings
	if s.WaitWork > 0 && strings.HasPrefix(string(r.Key), waitingKeys) {
		return s.WaitWork
	}
	return s.WorkLeast + time.Duration(luck)%(s.WorkMost-s.WorkLeast+1)
}

// verdict says whether the run fails, and how long the record must wait then: 0 =
// as the consumer sees fit.
func (m *memberProcess) verdict(r *kgo.Record, luck uint32, attempt int) (wait time.Duration, fails bool) {
	const percent = 100
	s := &m.settings
	switch {
	case m.failing.Load():
		return 0, true
	case strings.HasPrefix(string(r.Key), waitingKeys):
		_, again := m.waited.LoadOrStore(string(r.Key), true)
		return s.Wait, attempt == 1 && !again
	default:
		return time.Duration(1+luck%50) * time.Millisecond, attempt == 1 && luck/7%percent < s.FailPercent
	}
}

// luckOf is a number that depends on the place of the record only.
func luckOf(r *kgo.Record) uint32 {
	h := fnv.New32a()
	_, _ = fmt.Fprint(h, r.Partition, " ", r.Offset)
	return h.Sum32()
}
