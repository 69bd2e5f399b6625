package dlq_test

import (
	"context"
	"fmt"
	"log"
	"strings"
	"time"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/broker"
	"github.com/duplex-go/duplex/consumer"
	"github.com/duplex-go/duplex/dlq"
)

// Dead letters are brought back by a plan: it says what would happen, and applying it makes
// each letter come back once, to the group that failed, however often that is interrupted.
func ExampleRedriver() {
	b, err := broker.Start(broker.Config{Topics: []broker.Topic{{Name: Bookings.Name}}})
	if err != nil {
		log.Fatal(err)
	}
	defer b.Close()
	bookAll(b) // two of them had no seat, one had no name

	// The seats are there now.
	ctx, stop := context.WithCancel(context.Background())
	desk, err := consumer.New(consumer.Config{
		Cluster: b.Cluster(), Group: "desk", Failures: dlq.NoRetry,
		Handlers: []consumer.Handler{consumer.Handle(Bookings, func(_ context.Context, b Booking) error {
			if b.Passenger == "nobody" {
				return duplex.Permanent(fmt.Errorf("the passenger has no name"))
			}
			return nil
		})},
	})
	if err != nil {
		panic(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- desk.Run(ctx) }()

	redriver, err := dlq.NewRedriver(dlq.RedriverConfig{Cluster: b.Cluster()})
	if err != nil {
		panic(err)
	}
	defer redriver.Close()
	queue := dlq.DeadTopic("desk", Bookings.Name)
	seats, err := dlq.ParseFilter(`message~"no seat"`)
	if err != nil {
		panic(err)
	}
	plan, err := redriver.Plan(ctx, queue, dlq.PlanConfig{
		Filter: seats, By: "ada", Reason: "a larger aircraft",
		Force: true, // the desk may still be on its way into its group
	})
	if err != nil {
		panic(err)
	}
	fmt.Println(plan.Records, "of", plan.Scanned, "letters, to", plan.To[0].Topic)

	job, err := redriver.Apply(ctx, plan, dlq.ApplyConfig{Rate: 50, AbortRate: 0.5, Await: 10 * time.Second})
	if err != nil {
		panic(err)
	}
	fmt.Println(job.State, job.Moved, "moved,", job.Handled, "handled")

	// The one without a name is mended on its way.
	plan, err = redriver.Plan(ctx, queue, dlq.PlanConfig{Edited: true})
	if err != nil {
		panic(err)
	}
	job, err = redriver.Apply(ctx, plan, dlq.ApplyConfig{Await: 10 * time.Second, Edit: func(_ context.Context, letters []*dlq.Letter) error {
		for _, l := range letters {
			l.Record.Value = []byte(strings.ReplaceAll(string(l.Record.Value), "nobody", "Mary"))
		}
		return nil
	}})
	if err != nil {
		panic(err)
	}
	fmt.Println(job.State, job.Moved, "moved,", job.Handled, "handled")
	stop()
	if err := <-ended; err != nil {
		panic(err)
	}
	// Output:
	// 2 of 3 letters, to redrive.desk.bookings
	// done 2 moved, 2 handled
	// done 1 moved, 1 handled
}
