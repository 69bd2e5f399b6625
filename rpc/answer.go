package rpc

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/consumer"
	"github.com/duplex-go/duplex/internal/failure"
)

// answer is what a server has to send for a request that it has served. It is the context
// of the request's record, too: where the handler leaves it for the policy, which
// publishes it.
type answer struct {
	context.Context //nolint:containedctx // a record has one

	server            *Server
	request           request
	record            *kgo.Record // nil with an error
	err               error
	trace             []kgo.RecordHeader // of the server's span
	until             time.Time
	got, began, ended time.Time

	hop     failure.Hop
	reply   kgo.Record
	headers [usualHeaders]kgo.RecordHeader
	values  [usualBytes]byte
	sending sending
}

// An answer is more than a kilobyte, which is used again for another request once the
// reply is acknowledged.
//
//nolint:gochecknoglobals // it holds nothing that anybody has
var spare sync.Pool

func newAnswer(s *Server) *answer {
	a, _ := spare.Get().(*answer)
	if a == nil {
		a = new(answer)
		a.hop.Publish, a.hop.Released, a.sending.promise = a.send, a.release, a.tried
	}
	a.Context, a.server = context.Background(), s
	return a
}

// release gives the room back: nobody may have the reply any more.
func (a *answer) release() {
	if a.sending.kept {
		return
	}
	publish, released, promise := a.hop.Publish, a.hop.Released, a.sending.promise
	*a = answer{}
	a.hop.Publish, a.hop.Released, a.sending.promise = publish, released, promise
	spare.Put(a)
}

// write makes the record to send.
func (a *answer) write(r *kgo.Record, w writer) {
	q := a.request
	*r = kgo.Record{Topic: q.replyTopic, Partition: q.partition}
	w.bytes(HeaderCorrelationID, q.correlationID)
	w.text(HeaderVersion, version)
	w.text(HeaderKind, kindReply)
	w.text(HeaderServer, a.server.name)
	n := len(w.buffer)
	for i, at := range []time.Time{a.got, a.began, a.ended} {
		if i > 0 {
			w.buffer = append(w.buffer, ',')
		}
		w.buffer = strconv.AppendInt(w.buffer, at.UnixMicro(), 10)
	}
	w.add(HeaderTimes, n)
	w.headers = append(w.headers, a.trace...)
	if a.err != nil {
		e, ok := errors.AsType[*Error](a.err)
		if !ok {
			e = failed.error(q.method, nil)
		}
		r.Value = w.error(e)
	} else {
		r.Value = a.record.Value
		for _, h := range a.record.Headers {
			if !ours(h.Key) || h.Key == duplex.HeaderContentType {
				w.headers = append(w.headers, h)
			}
		}
	}
	r.Headers = w.headers
}

// error writes the headers of an error, and gives the body: Connect's JSON, in which a
// detail's bytes are base64 without padding.
func (w *writer) error(e *Error) []byte {
	w.text(HeaderStatus, string(e.Code))
	w.text(HeaderMessage, escaped(e.Message))
	w.text(HeaderExecuted, string(e.Executed))
	if e.RetryAfter != 0 {
		w.decimal(HeaderRetryAfter, max(e.RetryAfter.Milliseconds(), -1))
	}
	for _, h := range e.Meta {
		if !ours(h.Key) {
			w.headers = append(w.headers, h)
		}
	}
	w.text(duplex.HeaderContentType, "application/json")
	body := errorBody{Code: string(e.Code), Message: e.Message}
	for _, d := range e.Details {
		body.Details = append(body.Details, detailBody{d.Type, base64.RawStdEncoding.EncodeToString(d.Value)})
	}
	b, _ := json.Marshal(body) // strings only
	return b
}

type errorBody struct {
	Code    string       `json:"code"`
	Message string       `json:"message,omitempty"`
	Details []detailBody `json:"details,omitempty"`
}

type detailBody struct {
	Type  string `json:"type"`
	Value string `json:"value"`
}

// details reads those of an error's body, as many as can be read.
func details(body []byte) (all []Detail) {
	var e errorBody
	if json.Unmarshal(body, &e) != nil {
		return nil
	}
	for _, d := range e.Details {
		if value, err := base64.RawStdEncoding.DecodeString(d.Value); err == nil {
			all = append(all, Detail{d.Type, value})
		}
	}
	return all
}

// policy is the consumer's policy for requests: what was handled is finished when its
// answer is acknowledged, or cannot be any more. What fails are one-way calls: that is up
// to the server's own policy.
type policy struct{ server *Server }

var _ consumer.Failures = policy{}

// Chain implements consumer.Failures.
func (p policy) Chain(ctx context.Context, env failure.Env) (failure.Chain, error) {
	if p.server.cfg.Failures == nil {
		return answers{failure.None{}, p.server}, nil
	}
	inner, err := p.server.cfg.Failures.Chain(ctx, env)
	if err != nil {
		return nil, err
	}
	return answers{inner, p.server}, nil
}

// answers is a chain that publishes answers.
type answers struct {
	failure.Chain
	server *Server
}

// Answers implements failure.Chain.
func (answers) Answers(string) bool { return true }

// Finished implements failure.Chain.
func (c answers) Finished(r *kgo.Record) *failure.Hop {
	a, ok := r.Context.(*answer)
	if !ok {
		return c.Chain.Finished(r)
	}
	r.Context = nil
	if a.err != nil {
		c.server.counts.errors.Add(1)
	}
	a.write(&a.reply, writer{headers: a.headers[:0], buffer: a.values[:0]})
	a.hop.Record, a.hop.Kind = &a.reply, failure.HopOutcome
	return &a.hop
}
