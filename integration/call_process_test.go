package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/internal/suite"
	"github.com/duplex-go/duplex/rpc"
)

const callVariable = "INTEGRATION_CALL"

// callPoint is where a process kills itself in the middle of a call, which is
//
//	claim ─► request ─► acknowledged ─► fetched ─► handler ─► reply ─► acknowledged ─► commit ─► acknowledged
//	└────── caller ────────────────┘    └───────────────────── server ──────────────────────────────────────┘
type callPoint string

// The points of a server, in their order.
const (
	requestFetched  callPoint = "request fetched, not begun"
	requestBegun    callPoint = "begun, before the handler"
	handlerRunning  callPoint = "handler running"
	beforeReply     callPoint = "handler done, before the reply"
	replySent       callPoint = "reply sent"
	replyStored     callPoint = "reply acknowledged, not noticed"
	beforeCallDone  callPoint = "reply acknowledged, before the commit"
	callDoneSent    callPoint = "commit sent"
	callDoneStored  callPoint = "commit acknowledged, not noticed"
	callDoneCounted callPoint = "commit acknowledged, noticed"
)

// The points of a caller, in their order.
const (
	claimStored   callPoint = "claim acknowledged, not noticed"
	beforeRequest callPoint = "request buffered, not sent"
	requestSent   callPoint = "request sent"
	requestStored callPoint = "request acknowledged, not noticed"
	callAtWork    callPoint = "waiting for the reply"
	replyFetched  callPoint = "reply fetched, not returned"
)

// callSettings describe a process that serves calls, or makes one, and kills itself.
type callSettings struct {
	Brokers []string
	Service string
	Point   callPoint
	// History is where a server writes which calls began.
	History string
	// Caller is the service of a process that calls, "" of one that serves.
	Caller, Instance string
}

// asked is what calls of these tests ask: to be written down, and to wait if it says so.
type asked struct {
	ID   string
	Wait bool
}

// travellers are the methods of a service: each writes down that it ran.
func travellers(service string) (plain, safe rpc.Method[asked, string]) {
	plain = rpc.Method[asked, string]{Service: service, Name: "Once"}
	safe = rpc.Method[asked, string]{Service: service, Name: "Safe", Safe: true}
	return plain, safe
}

type callProcess struct {
	settings callSettings
	history  *os.File
	server   *rpc.Server

	mu            sync.Mutex
	reply, commit kmsg.Request
}

// TestCallProcess is the program.
func TestCallProcess(t *testing.T) {
	text := os.Getenv(callVariable)
	if text == "" {
		t.Skip("only a program for another test")
	}
	p := &callProcess{}
	err := json.Unmarshal([]byte(text), &p.settings)
	if err == nil {
		err = p.run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "call:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func (p *callProcess) run() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	cluster := duplex.Cluster{Brokers: p.settings.Brokers}
	wire := &suite.Wire{Keys: []kmsg.Key{kmsg.Produce, kmsg.OffsetCommit}, Sends: p.sends, Sent: p.sent, Answered: p.answered}
	if p.settings.Caller != "" {
		return p.call(ctx, wire.Watch(cluster))
	}
	return p.serve(ctx, wire.Watch(cluster))
}

func (p *callProcess) serve(ctx context.Context, cluster duplex.Cluster) (err error) {
	if p.history, err = os.OpenFile(p.settings.History, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600); err != nil {
		return err
	}
	plain, safe := travellers(p.settings.Service)
	cfg := rpc.ServerConfig{
		Cluster: cluster, SessionTimeout: sessionTimeout, Partitions: 1,
		Handlers: []rpc.Handler{rpc.Handle(plain, p.handle), rpc.Handle(safe, p.handle)},
		Interceptors: []rpc.Interceptor{func(next rpc.Next) rpc.Next {
			return func(ctx context.Context, r *kgo.Record) (*kgo.Record, error) {
				p.dies(requestBegun)
				return next(ctx, r)
			}
		}},
	}
	if p.settings.Point == requestFetched {
		cfg.Concurrency = 1 // the second call waits for the first one
	}
	if p.server, err = rpc.NewServer(cfg); err != nil {
		return err
	}
	return errors.Join(p.server.Run(ctx), p.history.Close())
}

func (p *callProcess) handle(_ context.Context, q asked) (string, error) {
	if _, err := p.history.WriteString(q.ID + "\n"); err != nil {
		return "", err
	}
	p.dies(handlerRunning)
	if p.settings.Point == requestFetched {
		p.diesWhen(requestFetched, func(at duplex.PartitionStatus) bool { return at.Loaded > 1 })
	}
	return "re: " + q.ID, nil
}

func (p *callProcess) call(ctx context.Context, cluster duplex.Cluster) error {
	plain, _ := travellers(p.settings.Service)
	c, err := rpc.NewClient(rpc.ClientConfig{
		Cluster: cluster, Service: p.settings.Caller, Instance: p.settings.Instance, ReplyPartitions: 1, WaitForServer: true,
		Interceptors: []rpc.Interceptor{func(next rpc.Next) rpc.Next {
			return func(ctx context.Context, r *kgo.Record) (*kgo.Record, error) {
				resp, err := next(ctx, r)
				p.dies(replyFetched)
				return resp, err
			}
		}},
	})
	if err != nil {
		return err
	}
	_, err = rpc.Call(ctx, c, plain, asked{ID: string(p.settings.Point), Wait: p.settings.Point == callAtWork})
	return errors.Join(err, c.Close())
}

// dies ends the process at the point, and does not return then.
func (p *callProcess) dies(at callPoint) {
	if p.settings.Point != at {
		return
	}
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}

// diesWhen ends the process at the point, if it is to die there, as soon as ok says so of
// its partition.
func (p *callProcess) diesWhen(at callPoint, ok func(duplex.PartitionStatus) bool) {
	if p.settings.Point != at {
		return
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for ; ; <-tick.C {
		if all := p.server.Status().Partitions; len(all) == 1 && ok(all[0]) {
			p.dies(at)
		}
	}
}

func (p *callProcess) sends(r kmsg.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch req := r.(type) {
	case *kmsg.ProduceRequest:
		switch {
		case writes(req, rpc.HeaderServer):
			p.reply = r
			p.dies(beforeReply)
		case writes(req, rpc.HeaderMethod):
			p.dies(beforeRequest)
		}
	case *kmsg.OffsetCommitRequest:
		if finishes(req) {
			p.commit = r
			p.dies(beforeCallDone)
		}
	}
}

func (p *callProcess) sent(r kmsg.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch r {
	case p.reply:
		p.dies(replySent)
	case p.commit:
		p.dies(callDoneSent)
	default:
		if writes(r, rpc.HeaderMethod) {
			p.dies(requestSent)
		}
	}
}

func (p *callProcess) answered(r kmsg.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch r {
	case p.reply:
		p.dies(replyStored)
	case p.commit:
		p.dies(callDoneStored)
		go p.diesWhen(callDoneCounted, func(at duplex.PartitionStatus) bool { return at.Committed > 0 })
	default:
		if writes(r, rpc.HeaderMethod) {
			p.dies(requestStored)
		}
		if writes(r, `"topic_id"`) {
			p.dies(claimStored)
		}
	}
}

// writes reports whether a request writes records in which these words are.
func writes(r kmsg.Request, words string) bool {
	req, is := r.(*kmsg.ProduceRequest)
	if !is {
		return false
	}
	for i := range req.Topics {
		for j := range req.Topics[i].Partitions {
			if bytes.Contains(req.Topics[i].Partitions[j].Records, []byte(words)) {
				return true
			}
		}
	}
	return false
}

// finishes reports whether a commit says that the first call is finished.
func finishes(req *kmsg.OffsetCommitRequest) bool {
	for i := range req.Topics {
		for j := range req.Topics[i].Partitions {
			if req.Topics[i].Partitions[j].Offset > 0 {
				return true
			}
		}
	}
	return false
}
