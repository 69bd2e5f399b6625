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
	client *kgo.Client

	mu       sync.Mutex
	services map[string]*served
}

type served struct {
	replied atomic.Int64 // when a reply came last, in ns since 1970
	budget  budget

	mu    sync.Mutex
	until time.Time // for as long as what is known holds
	none  bool
}

const (
	// servedFor is for how long a service is taken to have servers, refusedFor for how
	// long it is taken to have none.
	servedFor, refusedFor = 3 * time.Second, 250 * time.Millisecond
	// presenceTimeout bounds a question: a coordinator that does not answer says nothing.
	presenceTimeout = time.Second
)

func (p *presence) of(service string) *served {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.services[service]
	if s == nil {
		s = &served{}
		p.services[service] = s
	}
	return s
}

// heard notes that a server of the service is there.
func (s *served) heard() { s.replied.Store(time.Now().UnixNano()) }

// certain reports whether it is known, without a question, that a service has servers.
func (s *served) certain() bool { return time.Now().UnixNano()-s.replied.Load() < int64(servedFor) }

// nobody reports whether it is known that a service has no servers.
func (p *presence) nobody(ctx context.Context, service string) bool {
	s := p.of(service)
	now := time.Now()
	if s.certain() {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.Before(s.until) {
		return s.none
	}
	bounded, cancel := context.WithTimeout(ctx, presenceTimeout)
	defer cancel()
	s.none = p.empty(bounded, service)
	if s.until = time.Now().Add(servedFor); s.none {
		s.until = time.Now().Add(refusedFor)
	}
	return s.none
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
