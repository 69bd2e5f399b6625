package rpc

import (
	"context"
	"errors"
	"math"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex/internal/kafka"
)

// replier sends the replies of a server, with a client of its own: a reply topic that
// cannot be written must not fill what requests are read with.
type replier struct {
	server *Server
	client *kgo.Client
	life   context.Context //nolint:containedctx // of the client, for what it produces
	end    context.CancelFunc

	mu         sync.Mutex
	topics     map[string]replyTopic
	background sync.WaitGroup
	under      underWay
}

// replyTopic is what is known of a topic that replies are wanted in.
type replyTopic struct {
	partitions int32 // 0 if it is not there
	until      time.Time
	asked      time.Time
}

const (
	// topicKnown is for how long a topic is taken to be as it was, topicMissing for how
	// long one is taken to be missing.
	topicKnown, topicMissing = time.Minute, time.Second
	// growthEvery is how often a topic is looked at that has too few partitions.
	growthEvery = 100 * time.Millisecond
	// mostTopics bounds what is remembered: a caller can name as many as it likes.
	mostTopics = 10_000
	// askTimeout bounds a question about a topic.
	askTimeout = 5 * time.Second
	// resendMin and resendMax bound the wait before a reply is sent again.
	resendMin, resendMax = 50 * time.Millisecond, time.Second
	// triesToLook is after how many tries it is looked whether its partition is there.
	triesToLook = 4
)

// newReplier makes the topic of requests if it is not there.
func newReplier(ctx context.Context, s *Server) (*replier, error) {
	client, err := kafka.NewClient(s.cfg.Cluster, s.cfg.Logger, producing()...)
	if err != nil {
		return nil, err
	}
	r := &replier{server: s, client: client, topics: map[string]replyTopic{}}
	r.life, r.end = context.WithCancel(context.WithoutCancel(ctx))
	bounded, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	err = kafka.Reach(bounded, client, "rpc server", startTimeout)
	if err == nil {
		err = ensureTopic(bounded, client, requestTopic(s.service, s.cfg.Partitions))
	}
	if err != nil {
		r.close()
		return nil, err
	}
	kafka.AwaitEverywhere(bounded, client, RequestTopic(s.service)) // the consumer asks whom it likes
	return r, nil
}

// startTimeout is how long a server tries to reach the cluster before it gives up.
const startTimeout = 30 * time.Second

// producing are the options of clients that send requests or replies: at once, to the
// partition that the record names.
func producing() []kgo.Opt {
	return []kgo.Opt{
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerLinger(0),
		kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.MaxBufferedRecords(math.MaxInt32),
		kgo.RecordDeliveryTimeout(deliveryTimeout),
		kgo.UnknownTopicRetries(1),
		kgo.AlwaysRetryEOF(),                       // engine rule 38
		kgo.MetadataMinAge(100 * time.Millisecond), // engine rule 23
		kgo.ConnIdleTimeout(9 * time.Minute),       // brokers close at ten
	}
}

// deliveryTimeout is when Kafka's client gives up on a record. Callers have given up
// before: a record's own deadline would fail its neighbours (engine rule 21).
const deliveryTimeout = time.Minute

func (r *replier) close() {
	r.end()
	r.client.Close()
	r.background.Wait()
}

// forget has a topic looked at again that was deleted: the client would go on with the ID
// that it had, even where there is one of the same name.
func (r *replier) forget(topic string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.topics, topic)
	r.background.Go(func() { r.client.PurgeTopicsFromProducing(topic) }) // not on the client's own goroutine
}

// allowed reports whether a reply may go where a request wants it: to a partition of a
// topic that is there and whose name begins as it must. Nothing is ever created.
func (r *replier) allowed(ctx context.Context, q request, now time.Time) bool {
	if strings.HasPrefix(q.replyTopic, "__") {
		return false
	}
	for _, prefix := range r.server.cfg.ReplyPrefixes {
		if strings.HasPrefix(q.replyTopic, prefix) {
			return q.partition < r.partitions(ctx, q.replyTopic, q.partition, now)
		}
	}
	return false
}

// partitions is how many a topic has, 0 if it is not there. One that had too few for what
// is wanted may have grown since: it is looked at again.
func (r *replier) partitions(ctx context.Context, topic string, wanted int32, came time.Time) int32 {
	t, known := r.recall(topic)
	if known && came.Before(t.until) && wanted < t.partitions {
		return t.partitions
	}
	if known && 0 < t.partitions && t.partitions <= wanted {
		select {
		case <-ctx.Done():
			return 0
		case <-time.After(time.Until(t.asked.Add(growthEvery))):
		}
		t, known = r.recall(topic)
	}
	now := time.Now()
	if known && now.Before(t.until) && (wanted < t.partitions || t.partitions == 0 || t.asked.After(came)) {
		return t.partitions
	}
	bounded, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	there, err := kafka.Topics(bounded, r.client, "rpc server", topic)
	switch {
	case err == nil && len(there) == 1:
		t = replyTopic{partitions: there[0].Partitions, until: now.Add(topicKnown), asked: now}
	case known && !isMissing(err): // nobody answers: it is as it was
		t.until = now.Add(topicMissing)
	default:
		t = replyTopic{until: now.Add(topicMissing)}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.topics) >= mostTopics {
		clear(r.topics)
	}
	r.topics[topic] = t
	return t.partitions
}

// recall is what was known of a topic.
func (r *replier) recall(topic string) (t replyTopic, known bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t, known = r.topics[topic]
	return t, known
}

// isMissing reports whether err says that a topic is not there, or not for us.
func isMissing(err error) bool {
	return errors.Is(err, kerr.UnknownTopicOrPartition) || errors.Is(err, kerr.UnknownTopicID) || errors.Is(err, kerr.TopicAuthorizationFailed) ||
		errors.Is(err, kerr.InvalidTopicException)
}
