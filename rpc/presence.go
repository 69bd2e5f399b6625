package rpc

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// presence knows which services have servers, by asking the coordinator of their groups.
//
//	empty                              nobody: a call is refused at once
//	stable or rebalancing, with members  served
//	anything else, an error, no right    not known: it is sent
//
// Nothing is asked while replies come in. A server that died is a member until its
// session ends.
type presence struct {
	client     *kgo.Client
	life       context.Context //nolint:containedctx // of the client, for what it asks
	over       chan struct{}   // of the client
	background *background
	services   sync.Map // of *served, by service
}

type served struct {
	replied atomic.Int64 // when a reply came last, in ns since 1970
	budget  budget

	mu     sync.Mutex
	until  time.Time // for as long as what is known holds
	none   bool
	asking chan struct{} // closed when the answer is there; nil while nobody asks
}

const (
	// servedFor is for how long a service is taken to have servers, refusedFor for how
	// long it is taken to have none.
	servedFor, refusedFor = 3 * time.Second, 250 * time.Millisecond
	// presenceTimeout bounds a question: a coordinator that does not answer says nothing.
	presenceTimeout = time.Second
)

func (p *presence) of(service string) *served {
	s, known := p.services.Load(service)
	if !known {
		s, _ = p.services.LoadOrStore(service, &served{})
	}
	return s.(*served) //nolint:forcetypeassert // there is nothing else in it
}

// heard notes that a server of the service is there.
func (s *served) heard(at time.Time) { s.replied.Store(at.UnixNano()) }

// certain reports whether it is known, without a question, that a service has servers.
func (s *served) certain(now time.Time) bool {
	return now.UnixNano()-s.replied.Load() < int64(servedFor)
}

// nobody reports whether it is known that a service has no servers. One call asks, and the
// others wait for that, each for as long as it has.
func (p *presence) nobody(ctx context.Context, service string, s *served) bool {
	if s.certain(time.Now()) {
		return false
	}
	s.mu.Lock()
	if time.Now().Before(s.until) {
		defer s.mu.Unlock()
		return s.none
	}
	asking := s.asking
	if asking == nil {
		asking = make(chan struct{})
		s.asking = asking
		p.background.run(func() { p.ask(s, service, asking) }) //nolint:contextcheck // others wait for it, too
	}
	s.mu.Unlock()
	select {
	case <-asking:
	case <-ctx.Done():
		return false
	case <-p.over:
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.none
}

// ask finds out whether a service has servers. It does not end with the call that asks
// first, since others wait for the answer, too.
func (p *presence) ask(s *served, service string, asking chan struct{}) {
	ctx, cancel := context.WithTimeout(p.life, presenceTimeout)
	defer cancel()
	answer := make(chan bool, 1)
	p.background.run(func() { answer <- p.empty(ctx, service) }) // it does not look at ctx while a connection is made
	none := false
	select {
	case none = <-answer:
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.none, s.asking = none, nil
	if s.until = time.Now().Add(servedFor); none {
		s.until = time.Now().Add(refusedFor)
	}
	close(asking)
}

// empty asks for the service's group, and reports whether it has no members for sure.
func (p *presence) empty(ctx context.Context, service string) bool {
	req := kmsg.NewPtrDescribeGroupsRequest()
	req.Groups = []string{Group(service)}
	resp, err := req.RequestWith(ctx, p.client)
	if err != nil || len(resp.Groups) != 1 {
		return false
	}
	g := resp.Groups[0]
	if kerr.ErrorForCode(g.ErrorCode) != nil {
		return false
	}
	return g.State == "Empty" && len(g.Members) == 0
}
