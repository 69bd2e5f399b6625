package dlq

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
)

// Found is a dead letter with all that there is of it.
type Found struct {
	// Letter has its value in Record.
	Letter
	// Source is the record that a letter without a value of its own points to. It is nil
	// for others, and where it is not there any more; then Gone says why.
	Source *kgo.Record
	Gone   string
}

// Letter reads one dead letter of a queue. ref is its place there, as in 3/42 for offset 42
// of partition 3, or its ID; to find that, the queue is read up to it. One that is not
// there is an error that says so. Whether it is a second copy is not known of a place.
func (i *Inspector) Letter(ctx context.Context, topic, ref string) (*Found, error) {
	op := fmt.Sprintf("dlq: looking for %q in %q", bounded(ref, maxWord), topic)
	var at *place
	cfg := ScanConfig{KeepValues: true}
	if p, ok := parsePlace(ref); ok {
		at = &p
		cfg.Partitions, cfg.From, cfg.To = []int32{p.partition}, map[int32]int64{p.partition: p.offset}, map[int32]int64{p.partition: p.offset + 1}
	} else {
		field, _ := fieldNamed("id")
		cfg.Filter = Filter{terms: []term{{field: field, op: "=", value: ref}}}
	}
	found, scanned, err := i.first(ctx, topic, cfg)
	if err != nil {
		return nil, err
	}
	if found == nil {
		return nil, notFound(op, at, scanned)
	}
	return i.resolve(ctx, found)
}

var errFound = errors.New("found")

// first is the first letter of a scan, nil if there is none.
func (i *Inspector) first(ctx context.Context, topic string, cfg ScanConfig) (*Letter, Scanned, error) {
	var found *Letter
	scanned, err := i.Scan(ctx, topic, cfg, func(l *Letter) error {
		found = l.Clone()
		return errFound
	})
	if err == errFound {
		err = nil
	}
	return found, scanned, err
}

// place is where a record stands in a topic.
type place struct {
	partition int32
	offset    int64
}

func parsePlace(ref string) (place, bool) {
	before, after, _ := strings.Cut(ref, "/")
	p, err := strconv.ParseInt(before, 10, 32)
	o, also := strconv.ParseInt(after, 10, 64)
	return place{int32(p), o}, err == nil && also == nil && p >= 0 && o >= 0 && o < 1<<62
}

func notFound(op string, at *place, s Scanned) error {
	total := s.Total()
	why := fmt.Sprintf("none of its %d letters has this ID", total.Read)
	hint := "give the ID as the queue has it, or the letter's place, as in 3/42; it may have expired"
	if at != nil {
		hint = "offsets that no letter has are those of markers, of what was deleted, and of what is not written yet"
		if why = "there is no letter at this offset"; total.Expired > 0 {
			why = "the letter has expired: its queue has deleted it"
		}
	}
	return &duplex.Error{Op: op, Err: errors.New(why), Hint: hint}
}

// resolve adds what a letter points to.
func (i *Inspector) resolve(ctx context.Context, l *Letter) (*Found, error) {
	f := &Found{Letter: *l}
	if !l.Pointer {
		return f, nil
	}
	o := l.Origin
	one := i.newScan(o.Topic, ScanConfig{
		KeepValues: true, Partitions: []int32{o.Partition}, From: map[int32]int64{o.Partition: o.Offset}, To: map[int32]int64{o.Partition: o.Offset + 1},
	}, func(read *Letter) error {
		f.Source = read.Clone().Record
		return errEnough
	})
	one.bare, one.wanted = true, o.TopicID
	scanned, err := one.do(ctx)
	switch {
	case err == nil && f.Source != nil:
	case errors.Is(err, duplex.ErrUnknownTopic):
		f.Gone = fmt.Sprintf("topic %q does not exist, or is hidden", o.Topic)
	case errors.Is(err, errOtherTopic):
		f.Gone = fmt.Sprintf("topic %q was deleted and made again", o.Topic)
	case err != nil:
		return nil, err
	case scanned.Total().Expired > 0:
		f.Gone = fmt.Sprintf("offset %d of %q, partition %d, is below the start of its log: it was deleted", o.Offset, o.Topic, o.Partition)
	default:
		f.Gone = fmt.Sprintf("%q, partition %d, has no record at offset %d: it was compacted, or the topic was made again", o.Topic, o.Partition, o.Offset)
	}
	return f, nil
}

// Export writes the letters that fit, each as a line of AppendLine, with their values, and
// says what was read. Values of pointers are not fetched.
func (i *Inspector) Export(ctx context.Context, topic string, cfg ScanConfig, to io.Writer) (Scanned, error) {
	cfg.KeepValues = true
	var b []byte
	scanned, err := i.Scan(ctx, topic, cfg, func(l *Letter) (err error) {
		if b, err = AppendLine(b[:0], l); err != nil {
			return err
		}
		_, err = to.Write(b)
		return err
	})
	return scanned, err
}
