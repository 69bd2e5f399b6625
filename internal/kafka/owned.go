package kafka

import (
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
)

// owned are the options that Cluster.KafkaOptions may not change, with the field
// to use instead, or the promise that rests on them.
var owned = []struct {
	option any
	why    string
}{
	{kgo.SeedBrokers, "set Cluster.Brokers"},
	{kgo.ClientID, "set Cluster.ClientID"},
	{kgo.Dialer, "set Cluster.Dial"},
	{kgo.DialTimeout, "set Cluster.DialTimeout"},
	{kgo.DialTLSConfig, "set Cluster.TLS"},
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
	{kgo.SessionTimeout, "set consumer.Config.SessionTimeout"},
	{kgo.RebalanceTimeout, "set consumer.Config.RebalanceTimeout"},
	{kgo.InstanceID, "static membership is not available"},
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

// refuseOwned returns an error that names every option of opts that Duplex owns.
// kgo.Opt is opaque, so two clients are compared: one with the options, one
// without. Neither dials.
func refuseOwned(opts []kgo.Opt) error {
	if len(opts) == 0 {
		return nil
	}
	with, err := kgo.NewClient(opts...)
	if err != nil {
		return fmt.Errorf("kafka: applying Cluster.KafkaOptions: %w", err)
	}
	defer with.Close()
	without, err := kgo.NewClient()
	if err != nil {
		return fmt.Errorf("kafka: making a client: %w", err)
	}
	defer without.Close()
	var errs []error
	for _, o := range owned {
		if !same(with.OptValues(o.option), without.OptValues(o.option)) {
			errs = append(errs, fmt.Errorf("Cluster.KafkaOptions: kgo.%s is refused: %s", optionName(o.option), o.why))
		}
	}
	return errors.Join(errs...)
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
