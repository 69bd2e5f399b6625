package kafka

import (
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
)

// owned are the options that Cluster.KafkaOptions may not change, with the field
// to use instead, or the promise that rests on them.
//
//nolint:gochecknoglobals // a table that nobody writes
var owned = []struct {
	option any
	why    string
}{
	{kgo.SeedBrokers, "set Cluster.Brokers"},
	{kgo.ClientID, "set Cluster.ClientID"},
	{kgo.Dialer, "set Cluster.Dial"},
	{kgo.DialTimeout, "set Cluster.DialTimeout"},
	{kgo.DialTLSConfig, "set Cluster.TLS"},
	{kgo.DialTLS, "set Cluster.TLS"},
	{kgo.SASL, "set Cluster.SASL"},
	{kgo.WithLogger, "set Config.Logger"},
	{kgo.WithContext, "the component's lifetime is its own"},
	{kgo.AllowAutoTopicCreation, "a mistyped topic must be an error, not a new topic"},
	{kgo.RequiredAcks, "an acked record must be stored on every in-sync replica"},
	{kgo.DisableIdempotentWrite, "retries must not duplicate or reorder records"},
	{kgo.AllowIdempotentProduceCancellation, "a cancelled caller must not harm its neighbours"},
	{kgo.MaxBufferedRecords, "set producer.Config.MaxBufferedRecords"},
	{kgo.MaxBufferedBytes, "set producer.Config.MaxBufferedBytes"},
	{kgo.ProducerLinger, "set producer.Config.Linger"},
	{kgo.ManualFlushing, "the producer decides when to send"},
	{kgo.ProducerBatchCompression, "set producer.Config.Compression"},
	{kgo.ProducerBatchMaxBytes, "set producer.Config.MaxRecordBytes"},
	{kgo.RecordDeliveryTimeout, "set producer.Config.Timeout"},
	{kgo.ProduceRequestTimeout, "a hung broker must not hold up a publish beyond its deadline"},
	{kgo.UnknownTopicRetries, "a mistyped topic must be an error soon"},
	{kgo.DefaultProduceTopic, "set Record.Topic"},
	{kgo.RecordPartitioner, "keys must go where every other Kafka client sends them"},
	{kgo.TransactionalID, "transactions are not available"},
	{kgo.ConsumerGroup, "set consumer.Config.Group"},
	{kgo.ShareGroup, "share groups are not available"},
	{kgo.ConsumeTopics, "set consumer.Config.Handlers"},
	{kgo.ConsumePartitions, "a consumer reads in a group"},
	{kgo.ConsumeRegex, "set consumer.Config.Handlers"},
	{kgo.ConsumeStartOffset, "set consumer.Config.StartOffset"},
	{kgo.ConsumeResetOffset, "lost data must be reported, never jumped over"},
	{kgo.FetchIsolationLevel, "uncommitted records must not be handled"},
	{kgo.KeepControlRecords, "handlers see the records that were published"},
	{kgo.FetchMaxBytes, "set consumer.Config.FetchMaxBytes"},
	{kgo.FetchMaxWait, "a resumed partition must not wait for it"},
	{kgo.SessionTimeout, "set consumer.Config.SessionTimeout"},
	{kgo.HeartbeatInterval, "it follows from consumer.Config.SessionTimeout"},
	{kgo.RebalanceTimeout, "set consumer.Config.RebalanceTimeout"},
	{kgo.InstanceID, "set consumer.Config.InstanceID"},
	{kgo.GroupProtocol, "members must agree on one protocol"},
	{kgo.ServerSideBalancer, "set consumer.Config.Protocol"},
	{kgo.BlockRebalanceOnPoll, "rebalances are handled by the consumer"},
	{kgo.AdjustFetchOffsetsFn, "offsets are the consumer's"},
	{kgo.OnPartitionsAssigned, "rebalances are handled by the consumer"},
	{kgo.OnPartitionsRevoked, "rebalances are handled by the consumer"},
	{kgo.OnPartitionsLost, "rebalances are handled by the consumer"},
	{kgo.OnOffsetsFetched, "offsets are the consumer's"},
	{kgo.DisableAutoCommit, "offsets are the consumer's"},
	{kgo.GreedyAutoCommit, "offsets are the consumer's"},
	{kgo.AutoCommitMarks, "offsets are the consumer's"},
	{kgo.AutoCommitInterval, "set consumer.Config.CommitInterval"},
	{kgo.Balancers, "members must agree on one protocol"},
}

// besides are what some options need beside them to be valid at all: a group, or
// to be without idempotence.
func besides() [][]kgo.Opt {
	return [][]kgo.Opt{nil, {kgo.ConsumerGroup("any")}, {kgo.DisableIdempotentWrite()}}
}

// refuseOwned returns an error that names every option of opts that Duplex owns.
// kgo.Opt is opaque, so what a client would have with an option is compared with
// what it would have without, one option at a time.
func refuseOwned(opts []kgo.Opt) error {
	if len(opts) == 0 {
		return nil
	}
	refused := make([]bool, len(owned))
	for _, beside := range besides() {
		without := ownedValues(beside)
		for _, opt := range opts {
			for i, with := range ownedValues(append(slices.Clip(beside), opt)) {
				refused[i] = refused[i] || !same(with, without[i])
			}
		}
	}
	var errs []error
	for i, o := range owned {
		if refused[i] {
			errs = append(errs, fmt.Errorf("Cluster.KafkaOptions: kgo.%s is refused: %s", optionName(o.option), o.why))
		}
	}
	return errors.Join(errs...)
}

// ownedValues gives what a client made with opts would have for each of owned,
// nil if there can be no such client. None is made: it would call the hooks in
// opts, which may bear that only once, and one that consumes would dial.
func ownedValues(opts []kgo.Opt) [][]any {
	look, done := &looker{}, make(chan struct{})
	go func() {
		defer close(done)
		_, _ = kgo.NewClient(append([]kgo.Opt{kgo.WithHooks(look)}, opts...)...) // an error leaves no values
	}()
	<-done
	return look.values
}

// looker is the first hook that a client calls, before it starts anything.
type looker struct{ values [][]any }

// OnNewClient implements kgo.HookNewClient.
func (l *looker) OnNewClient(cl *kgo.Client) {
	for _, o := range owned {
		l.values = append(l.values, cl.OptValues(o.option))
	}
	runtime.Goexit()
}

func same(a, b []any) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !alike(reflect.ValueOf(a[i]), reflect.ValueOf(b[i])) {
			return false
		}
	}
	return true
}

// alike is reflect.DeepEqual, but functions are alike when they have the same
// code: every client has its own instance of a default partitioner.
func alike(x, y reflect.Value) bool {
	if x.IsValid() != y.IsValid() || !x.IsValid() {
		return x.IsValid() == y.IsValid()
	}
	if x.Type() != y.Type() {
		return false
	}
	switch x.Kind() {
	case reflect.Func:
		return x.Pointer() == y.Pointer()
	case reflect.Pointer, reflect.Interface:
		if x.IsNil() || y.IsNil() {
			return x.IsNil() == y.IsNil()
		}
		return alike(x.Elem(), y.Elem())
	case reflect.Struct:
		for i := range x.NumField() {
			if !alike(x.Field(i), y.Field(i)) {
				return false
			}
		}
		return true
	case reflect.Slice, reflect.Array:
		if x.Len() != y.Len() {
			return false
		}
		for i := range x.Len() {
			if !alike(x.Index(i), y.Index(i)) {
				return false
			}
		}
		return true
	case reflect.Map:
		return x.Len() == y.Len() && (x.Len() == 0 || x.Pointer() == y.Pointer())
	case reflect.Chan, reflect.UnsafePointer:
		return x.IsNil() == y.IsNil()
	default:
		return x.Equal(y)
	}
}

func optionName(option any) string {
	name := runtime.FuncForPC(reflect.ValueOf(option).Pointer()).Name()
	return name[strings.LastIndexByte(name, '.')+1:]
}
