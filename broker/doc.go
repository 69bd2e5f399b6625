// Package broker runs a Kafka-compatible broker inside the process, for
// development, demonstrations and tests. It needs no Java, no container and no
// port, and starts in about a millisecond:
//
//	b, err := broker.Start(broker.Config{
//		Topics: []broker.Topic{{Name: "departures", Partitions: 6}},
//	})
//	if err != nil {
//		return err
//	}
//	defer b.Close()
//	p, err := producer.New(producer.Config{Cluster: b.Cluster()})
//
// It is kfake, the fake broker of franz-go, with what a program needs around
// it: one configuration, a network of its own, and a guard in front that keeps
// junk on the port from ending the process.
//
// # Networks
//
// Without Config.Listen the broker has a network inside the process: only
// clients made from [Broker.Cluster] reach it, any number of brokers run beside
// each other, and it works inside a testing/synctest bubble, where Kafka's
// timers run in virtual time (package duplextest has more). With Config.Listen
// it is a TCP server on the loopback interface; any other interface is refused.
//
// # What it is not
//
// It is not a Kafka to keep data in. Everything is in memory and gone after
// [Broker.Close]; one goroutine does the work of all nodes; there is no
// replication. What passes here must still pass on Kafka before it ships, and
// no speed measured here says anything about Kafka's.
//
// Known differences to Kafka 4: a wrong password closes the connection without
// a SASL error; the size limit of commit metadata, the bounds of timestamps,
// quotas and delegation tokens are not enforced.
//
// # The guard
//
// Every frame is checked before the broker sees it: its length before any
// memory is set aside, its API key and version, its header, and that its body
// can be decoded. A connection that breaks a rule is closed; the first one is
// logged, and [Broker.Refused] counts them. The number of connections and the
// time a started frame may take are bounded.
package broker
