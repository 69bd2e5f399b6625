package rpc

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
)

// DefaultTimeout is the deadline of calls that have none, neither from their context nor
// from their method.
const DefaultTimeout = 5 * time.Second

// Method ties a name to the Go types of its requests and responses. Declare it once, as
// a package variable, and use it to call and to serve.
//
// The zero value of every field but Service and Name works.
type Method[Req, Resp any] struct {
	// Service is who serves it; [RequestTopic] is where its requests go. Required.
	Service string
	// Name of the method within the service: up to 256 characters, no slash. Required.
	Name string
	// Codec turns requests and responses into bytes and back. Defaults to
	// [duplex.JSON].
	Codec duplex.Codec
	// Key gives the key of a request. Requests with equal keys are run one after the
	// other, in the order of their calls, by one server at a time; an empty key is an
	// error. Defaults to none: requests are spread over the servers and run at once.
	Key func(Req) string
	// Safe says that running a call twice does no harm, such as a look-up. A call is
	// made again by itself then where it is not known whether it ran.
	Safe bool
	// Timeout is the deadline of calls whose context has none, from the call on.
	// Defaults to [DefaultTimeout].
	Timeout time.Duration
}

// name is the method as requests and errors have it.
func (m Method[Req, Resp]) name() string { return checked.of(m.Service, m.Name).full }

func (m Method[Req, Resp]) codec() duplex.Codec {
	if m.Codec == nil {
		return duplex.JSON
	}
	return m.Codec
}

func (m Method[Req, Resp]) validate() error {
	if err := m.checkTimeout(); err != nil {
		return err
	}
	return checked.of(m.Service, m.Name).wrong
}

func (m Method[Req, Resp]) checkTimeout() error {
	if m.Timeout < 0 || m.Timeout > maxTimeout {
		return fmt.Errorf("method %s: Timeout is %s, want 0 to %s", m.name(), m.Timeout, maxTimeout)
	}
	return nil
}

// names are methods that were looked at already: that is done once, and not with each
// call.
type names struct {
	mu    sync.RWMutex
	known map[[2]string]declared // by service and name
}

// declared is what a method's names come to.
type declared struct {
	full  string // "service/Name"
	topic string // of its requests
	wrong error  // what is wrong with them
}

//nolint:gochecknoglobals // it holds nothing that anybody has
var checked names

// mostMethods bounds what is kept: names may be made up.
const mostMethods = 1024

// of looks at a method.
func (n *names) of(service, name string) declared {
	key := [2]string{service, name}
	n.mu.RLock()
	d, known := n.known[key]
	n.mu.RUnlock()
	if known {
		return d
	}
	d = declared{full: service + "/" + name, topic: RequestTopic(service), wrong: checkMethod(service, name)}
	if len(d.full) > maxMethod { // made up
		return d
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.known == nil || len(n.known) >= mostMethods {
		n.known = map[[2]string]declared{}
	}
	n.known[key] = d
	return d
}

// checkMethod reports what is wrong with the names of a method.
func checkMethod(service, name string) error {
	if err := checkService(service); err != nil {
		return err
	}
	if name == "" || len(name) > maxWord || strings.ContainsAny(name, "/\x00\n") {
		return fmt.Errorf("method %q of service %q: a name has 1 to %d characters and no slash", name, service, maxWord)
	}
	return nil
}

// encode makes the record of a request.
func (m Method[Req, Resp]) encode(req Req) (*kgo.Record, *Error) {
	if err := m.validate(); err != nil {
		return nil, notEncoded.error(m.name(), err)
	}
	t := duplex.Topic[Req]{Name: checked.of(m.Service, m.Name).topic, Codec: m.codec(), Key: m.Key}
	r, err := t.Record(req)
	if err != nil {
		return nil, notEncoded.error(m.name(), err)
	}
	return r, nil
}

// Next is a call on its way, on either side: what interceptors wrap. The request is a
// record with key, value and headers of the user's, and so is the response, which is not
// nil unless there is an error or the call is one-way.
type Next func(ctx context.Context, request *kgo.Record) (response *kgo.Record, err error)

// Interceptor wraps calls; the first one of a list is the outermost. It may look at and
// change headers, answer by itself, or call next more than once. [FromContext] says what
// is called.
type Interceptor func(next Next) Next

// wrap puts interceptors around next.
func wrap(next Next, interceptors []Interceptor) Next {
	for i := len(interceptors) - 1; i >= 0; i-- {
		next = interceptors[i](next)
	}
	return next
}

// Info is what is known of a call in the contexts of interceptors and handlers.
type Info struct {
	// Method is what is called, as "service/Name"; "" outside of a call.
	Method string
	// OneWay is set where nobody waits for an answer.
	OneWay bool
	// Deadline is when the caller stops to wait; zero without one.
	Deadline time.Time
	// Attempt counts the attempts of the caller before this one.
	Attempt int
	// Caller is the client, as "service/instance"; it is what that says of itself, and
	// not proven. Server is set on the server's side.
	Caller string
	Server bool
}

type infoKey struct{}

// FromContext gives what is known of the call that a context belongs to; the zero Info
// for another context.
func FromContext(ctx context.Context) Info {
	info, _ := ctx.Value(infoKey{}).(Info)
	return info
}

// NewContext returns a context as a handler would get it, for the unit tests of handlers.
func NewContext(ctx context.Context, info Info) context.Context {
	return context.WithValue(ctx, infoKey{}, info)
}
