package broker_test

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex/broker"
	"github.com/duplex-go/duplex/producer"
)

// A broker inside the process needs no port, and its Cluster is all that a
// component wants to know.
func ExampleStart() {
	b, err := broker.Start(broker.Config{Topics: []broker.Topic{{Name: "departures", Partitions: 6}}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer b.Close()

	p, err := producer.New(producer.Config{Cluster: b.Cluster()})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer p.Close()
	position, err := p.Publish(context.Background(), &kgo.Record{Topic: "departures", Key: []byte("FRA"), Value: []byte("LH 454")})
	fmt.Println(position.Topic, position.Offset, err)
	// Output: departures 0 <nil>
}

// With an address it is a server that any Kafka client reaches from this machine.
func ExampleStart_listen() {
	b, err := broker.Start(broker.Config{Listen: "127.0.0.1:0"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer b.Close()
	fmt.Println(len(b.Addrs()), "address to give to clients")

	_, err = broker.Start(broker.Config{Listen: "0.0.0.0:9092"})
	fmt.Println("for other machines:", err != nil)
	// Output:
	// 1 address to give to clients
	// for other machines: true
}
