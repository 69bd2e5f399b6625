package demo

import (
	"errors"
	"sync/atomic"
)

var errBookingDown = errors.New("demo: the booking service is down")

// booking is the service that the desk calls.
type booking struct {
	down   atomic.Bool
	booked atomic.Int64
}

// rebook books the passengers of a departure on another flight.
func (b *booking) rebook(Departure) error {
	if b.down.Load() {
		return errBookingDown
	}
	b.booked.Add(1)
	return nil
}
