package rpc

import (
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
)

// outgoing is the record of a request on its way, with what it needs. It is more than a
// kilobyte, which is used again for another call once it is acknowledged.
type outgoing struct {
	record  kgo.Record
	headers [usualHeaders]kgo.RecordHeader
	values  [usualBytes]byte

	outbox  *outbox
	call    *call
	burst   *burst
	promise func(*kgo.Record, error) // sent
}

// usualHeaders and usualBytes are how many headers most requests and replies have, and
// what the values of those that are ours come to.
const usualHeaders, usualBytes = 14, 224

//nolint:gochecknoglobals // it holds nothing that anybody has
var outgoings sync.Pool

func newOutgoing() *outgoing {
	o, _ := outgoings.Get().(*outgoing)
	if o == nil {
		o = new(outgoing)
		o.promise = o.sent
	}
	return o
}

// sent is called by Kafka's client when the request is acknowledged, or given up.
func (o *outgoing) sent(r *kgo.Record, err error) {
	outbox, burst := o.outbox, o.burst
	if err != nil {
		outbox.failed(o.call, r, err)
	} else { // after an error the client may still be at it
		o.release()
	}
	if burst.left.Add(-1) == 0 {
		outbox.acknowledged(burst)
	}
}

// release gives the room back: nobody may have the record any more.
func (o *outgoing) release() {
	o.record = kgo.Record{}
	clear(o.headers[:])
	o.outbox, o.call, o.burst = nil, nil, nil
	outgoings.Put(o)
}
