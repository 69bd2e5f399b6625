package integration

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/dlq"
	"github.com/duplex-go/duplex/internal/suite"
)

const redriveVariable = "INTEGRATION_REDRIVE"

// redrivePoint is where a process kills or stops itself in the middle of a redrive, as far
// as brokers can tell. The claim, each transaction, and the end of the job go
//
//	open ─► letters fetched ─► publish ─► acknowledged ─► commit ─► acknowledged
type redrivePoint string

// The points, in their order.
const (
	beforeOpen    redrivePoint = "before the opening"
	openSent      redrivePoint = "opening sent"
	openAnswered  redrivePoint = "opened"
	lettersRead   redrivePoint = "letters fetched"
	beforeRecords redrivePoint = "before the publish"
	recordsSent   redrivePoint = "publish sent"
	recordsStored redrivePoint = "publish acknowledged"
	beforeEnd     redrivePoint = "before the commit"
	endSent       redrivePoint = "commit sent"
	endStored     redrivePoint = "commit acknowledged"
)

// What a process is at.
const (
	atClaim = "claim"
	atMove  = "move"
	atOver  = "over"
)

// redriveSettings describe a process that applies a plan, and may kill itself.
type redriveSettings struct {
	Brokers []string
	User    string // with the password "right", if not empty
	Plan    *dlq.Plan
	Topics  map[string]string // names by ID, in hex
	Back    string
	Rate    float64
	// Takeover has it take the job from whoever works at it, Patient wait until it may have
	// it.
	Takeover, Patient bool
	// Point, if not empty, is where it dies, or stops: when it is At the Nth time.
	Point redrivePoint
	At    string
	Nth   int
	Stops bool
}

type redriveProcess struct {
	settings redriveSettings

	mu    sync.Mutex
	at    string
	nth   int
	moved int64
	done  bool // it has stopped once
}

// The codes with which the program ends.
const (
	endedDone    = 0
	endedFenced  = 3
	endedRefused = 4
)

// TestRedriveProcess is the program. It begins when its input ends, and prints a line for
// each transaction.
func TestRedriveProcess(t *testing.T) {
	text := os.Getenv(redriveVariable)
	if text == "" {
		t.Skip("only a program for another test")
	}
	p := &redriveProcess{at: atClaim, nth: 1}
	err := json.Unmarshal([]byte(text), &p.settings)
	if err == nil {
		_, _ = os.Stdin.Read(make([]byte, 1))
		err = p.run(context.Background())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "redrive:", err)
	}
	switch {
	case err == nil:
		os.Exit(endedDone)
	case errors.Is(err, duplex.ErrFenced):
		os.Exit(endedFenced)
	case errors.Is(err, duplex.ErrRefused):
		os.Exit(endedRefused)
	}
	os.Exit(1)
}

func (p *redriveProcess) run(ctx context.Context) error {
	cluster := duplex.Cluster{Brokers: p.settings.Brokers}
	if p.settings.User != "" {
		cluster.SASL = &duplex.SASL{Mechanism: duplex.SASLPlain, Username: p.settings.User, Password: "right"}
	}
	if p.settings.Point != "" {
		wire := &suite.Wire{Keys: []kmsg.Key{kmsg.InitProducerID, kmsg.Fetch, kmsg.Produce, kmsg.EndTxn}, Sends: p.sends, Sent: p.sent, Answered: p.answered}
		cluster = wire.Watch(cluster)
	}
	r, err := dlq.NewRedriver(dlq.RedriverConfig{Cluster: cluster})
	if err != nil {
		return err
	}
	for {
		_, err = r.Apply(ctx, p.settings.Plan, dlq.ApplyConfig{Rate: p.settings.Rate, Takeover: p.settings.Takeover, Progress: p.progress})
		if !p.settings.Patient || !errors.Is(err, duplex.ErrRefused) {
			return errors.Join(err, r.Close())
		}
		<-time.After(200 * time.Millisecond) // the one who had it may live
	}
}

// progress is called between transactions.
func (p *redriveProcess) progress(j dlq.JobProgress) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.at == atClaim:
		p.at, p.nth = atMove, 1
	case j.Moved > p.moved:
		p.nth++
	}
	if p.moved = j.Moved; j.Moved == p.settings.Plan.Records {
		p.at, p.nth = atOver, 1
	}
	fmt.Println("moved", j.Moved, "at least once:", j.AtLeastOnce)
}

// reaches ends or stops the process if this is the point.
func (p *redriveProcess) reaches(point redrivePoint) {
	s := &p.settings
	p.mu.Lock()
	here := !p.done && s.Point == point && s.At == p.at && s.Nth == p.nth
	p.done = p.done || here
	p.mu.Unlock()
	if !here {
		return
	}
	if s.Stops {
		fmt.Println("stops")
		_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
		return
	}
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}

func (p *redriveProcess) sends(r kmsg.Request) {
	switch r.(type) {
	case *kmsg.InitProducerIDRequest:
		p.reaches(beforeOpen)
	case *kmsg.ProduceRequest:
		p.reaches(beforeRecords)
	case *kmsg.EndTxnRequest:
		p.reaches(beforeEnd)
	}
}

func (p *redriveProcess) sent(r kmsg.Request) {
	switch r.(type) {
	case *kmsg.InitProducerIDRequest:
		p.reaches(openSent)
	case *kmsg.ProduceRequest:
		p.reaches(recordsSent)
	case *kmsg.EndTxnRequest:
		p.reaches(endSent)
	}
}

func (p *redriveProcess) answered(r kmsg.Request) {
	switch req := r.(type) {
	case *kmsg.InitProducerIDRequest:
		p.reaches(openAnswered)
	case *kmsg.FetchRequest:
		if p.fetches(req) {
			p.reaches(lettersRead)
		}
	case *kmsg.ProduceRequest:
		p.reaches(recordsStored)
	case *kmsg.EndTxnRequest:
		p.reaches(endStored)
	}
}

// fetches reports whether a request is for letters.
func (p *redriveProcess) fetches(req *kmsg.FetchRequest) bool {
	for i := range req.Topics {
		name := req.Topics[i].Topic
		if name == "" {
			name = p.settings.Topics[hex.EncodeToString(req.Topics[i].TopicID[:])]
		}
		if name == p.settings.Plan.Queue {
			return true
		}
	}
	return false
}
