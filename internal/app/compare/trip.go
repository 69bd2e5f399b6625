package compare

import "fmt"

// Trip is the unit of work: the passengers of a departure are to be booked on another
// flight. Distance is in miles.
type Trip struct {
	// Phase and Number say which unit of which scenario it is, in which form.
	Phase  string `json:"phase"`
	Number int    `json:"number"`
	// The departure.
	Date        string  `json:"date"`
	Origin      string  `json:"origin"`
	Destination string  `json:"destination"`
	Distance    float64 `json:"distance"`
}

// Booking is what comes of it.
type Booking struct {
	Reference string  `json:"reference"`
	Fare      float64 `json:"fare"`
}

// bookingOf is the right booking of a trip: so much, and so much a mile.
func bookingOf(t Trip) Booking {
	return Booking{Reference: fmt.Sprintf("%s-%s/%d", t.Origin, t.Destination, t.Number), Fare: 50 + t.Distance*0.12}
}
