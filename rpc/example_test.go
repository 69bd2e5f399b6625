package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"strings"
	"sync"

	"github.com/duplex-go/duplex/broker"
	"github.com/duplex-go/duplex/rpc"
)

// world is a broker with a server of the handlers, and a client.
func world(handlers ...rpc.Handler) (client *rpc.Client, end func()) {
	b, err := broker.Start(broker.Config{})
	if err != nil {
		log.Fatal(err)
	}
	s, err := rpc.NewServer(rpc.ServerConfig{Cluster: b.Cluster(), Handlers: handlers})
	if err != nil {
		log.Fatal(err)
	}
	client, err = rpc.NewClient(rpc.ClientConfig{Cluster: b.Cluster(), Service: "desk", WaitForServer: true})
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := s.Run(ctx); err != nil {
			log.Fatal(err)
		}
	})
	return client, func() {
		if err := client.Close(); err != nil {
			log.Fatal(err)
		}
		stop()
		serving.Wait()
		b.Close()
	}
}

// Authentication: a wrong password is the server's answer, not a failure.
func Example_authentication() {
	type login struct{ User, Password string }
	check := rpc.Method[login, string]{Service: "logins", Name: "Check", Safe: true}
	client, end := world(rpc.Handle(check, func(_ context.Context, l login) (string, error) {
		if l.Password != "lovelace" {
			return "", rpc.Errorf(rpc.Unauthenticated, "the password of %s is another one", l.User)
		}
		return "session of " + l.User, nil
	}))
	defer end()
	session, err := rpc.Call(context.Background(), client, check, login{"ada", "lovelace"})
	fmt.Println(session, err)
	_, err = rpc.Call(context.Background(), client, check, login{"ada", "byron"})
	fmt.Println(errors.Is(err, rpc.Unauthenticated), err)
	// Output:
	// session of ada <nil>
	// true rpc: calling logins/Check: unauthenticated: the password of ada is another one (executed: completed)
}

// A look-up: Safe has it made again where nobody knows whether it ran.
func ExampleCall() {
	city := rpc.Method[string, string]{Service: "airports", Name: "City", Safe: true}
	cities := map[string]string{"LAX": "Los Angeles", "SEA": "Seattle"}
	client, end := world(rpc.Handle(city, func(_ context.Context, code string) (string, error) {
		name, ok := cities[code]
		if !ok {
			return "", rpc.Errorf(rpc.NotFound, "no airport %s", code)
		}
		return name, nil
	}))
	defer end()
	for _, code := range []string{"SEA", "???"} {
		name, err := rpc.Call(context.Background(), client, city, code)
		fmt.Printf("%q %q\n", name, rpc.CodeOf(err))
	}
	// Output:
	// "Seattle" ""
	// "" "not_found"
}

// Validation: details say to a program what is wrong.
func Example_validation() {
	type booking struct{ Passenger, Seat string }
	validate := rpc.Method[booking, bool]{Service: "bookings", Name: "Validate", Safe: true}
	client, end := world(rpc.Handle(validate, func(_ context.Context, b booking) (bool, error) {
		if b.Passenger == "" || !strings.ContainsAny(b.Seat, "ABCDEF") {
			return false, rpc.Errorf(rpc.InvalidArgument, "not a booking").WithDetail("field", []byte("Seat"))
		}
		return true, nil
	}))
	defer end()
	_, err := rpc.Call(context.Background(), client, validate, booking{"Ada", "12Z"})
	if e, ok := errors.AsType[*rpc.Error](err); ok {
		fmt.Println(e.Code, e.Details[0].Type, string(e.Details[0].Value))
	}
	// Output:
	// invalid_argument field Seat
}

// Create, read, update and delete: calls of one key run in order, and what must not
// happen twice is not Safe.
func ExampleMethod() {
	type seat struct{ Flight, Seat, Passenger string }
	key := func(s seat) string { return s.Flight }
	reserve := rpc.Method[seat, string]{Service: "seats", Name: "Reserve", Key: key}
	read := rpc.Method[seat, string]{Service: "seats", Name: "Read", Key: key, Safe: true}
	release := rpc.Method[seat, bool]{Service: "seats", Name: "Release", Key: key}
	var mu sync.Mutex
	taken := map[string]string{}
	client, end := world(
		rpc.Handle(reserve, func(_ context.Context, s seat) (string, error) {
			mu.Lock()
			defer mu.Unlock()
			if by, ok := taken[s.Flight+s.Seat]; ok {
				return "", rpc.Errorf(rpc.AlreadyExists, "%s has it", by)
			}
			taken[s.Flight+s.Seat] = s.Passenger
			return s.Seat, nil
		}),
		rpc.Handle(read, func(_ context.Context, s seat) (string, error) {
			mu.Lock()
			defer mu.Unlock()
			return taken[s.Flight+s.Seat], nil
		}),
		rpc.Handle(release, func(_ context.Context, s seat) (bool, error) {
			mu.Lock()
			defer mu.Unlock()
			_, had := taken[s.Flight+s.Seat]
			delete(taken, s.Flight+s.Seat)
			return had, nil
		}),
	)
	defer end()
	ctx := context.Background()
	_, err := rpc.Call(ctx, client, reserve, seat{"DX 1", "12A", "Ada"})
	fmt.Println(err)
	_, err = rpc.Call(ctx, client, reserve, seat{"DX 1", "12A", "Grace"})
	fmt.Println(rpc.CodeOf(err))
	by, _ := rpc.Call(ctx, client, read, seat{Flight: "DX 1", Seat: "12A"})
	had, _ := rpc.Call(ctx, client, release, seat{Flight: "DX 1", Seat: "12A"})
	fmt.Println(by, had)
	// Output:
	// <nil>
	// already_exists
	// Ada true
}
