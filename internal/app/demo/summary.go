package demo

// Summary is the outcome, computed from what was recorded. It prints as one JSON
// object; latencies are in milliseconds.
type Summary struct {
	// Published counts the records that Kafka acknowledged, Failed those it
	// refused, Unknown those of which nobody knows.
	Published int `json:"published"`
	Failed    int `json:"failed"`
	Unknown   int `json:"unknown"`
	// Handled counts the published records that the rebooking group handled, at once, after
	// retries, or after a redrive, Dropped those that its handler decided not to handle, Dead
	// those that are dead letters at the end. Retried counts the records that came back to it
	// from a retry topic, Recovered those of them that it handled.
	Handled   int `json:"handled"`
	Retried   int `json:"retried"`
	Recovered int `json:"recovered"`
	Dead      int `json:"dead"`
	Dropped   int `json:"dropped"`
	// Redriven counts the dead letters that a redrive sent back to the group, Open those
	// that are open at the end: which nobody sent back or discarded, or of which nobody
	// knows what became then. WrongEdits counts the records that the group got back, mended,
	// as something else than the input has.
	Redriven   int `json:"redriven"`
	Open       int `json:"open"`
	WrongEdits int `json:"wrong_edits"`
	// BoardsHandled counts the published records that the boards' group handled,
	// OutOfOrder those that it handled after a later one of their key.
	BoardsHandled int `json:"boards_handled"`
	OutOfOrder    int `json:"out_of_order"`
	// Lost counts the published records of which no end is known, for each of the groups;
	// one that was redriven has none until it ends again. Duplicated counts what ended twice.
	Lost       int `json:"lost"`
	Duplicated int `json:"duplicated"`
	// Damaged counts the published lines that were damaged on purpose.
	Damaged int `json:"damaged"`
	// Calls counts those that the gate made; each has one of these ends: Answered with a
	// quote, an error (Errors), or, by its deadline, neither (Unanswered). WrongQuotes
	// counts the answers that are not what the input makes them, Untrue the errors that
	// say what was not so: that a call never ran which did, or did and never ran, or that
	// its deadline had passed which had not. RunAgain counts the calls that ran more than
	// once, as only Safe ones do.
	Calls       int `json:"calls"`
	Answered    int `json:"answered"`
	Errors      int `json:"errors"`
	Unanswered  int `json:"unanswered"`
	WrongQuotes int `json:"wrong_quotes"`
	Untrue      int `json:"untrue_errors"`
	RunAgain    int `json:"run_again"`
	// Airports counts those on the board, WrongFigures those whose figures are
	// not those of the input.
	Airports     int `json:"airports"`
	WrongFigures int `json:"wrong_figures"`
	// Members counts everybody who was in the boards' group, Rebalances the
	// generations of it.
	Members    int `json:"members"`
	Rebalances int `json:"rebalances"`

	Seconds            float64 `json:"seconds"`
	PublishedPerSecond float64 `json:"published_per_second"`
	HandledPerSecond   float64 `json:"handled_per_second"`

	// Publish counts from when a record was to be published until its
	// acknowledgement, EndToEnd until the end of its handler; it leaves out the two
	// airports that are slow and broken on purpose.
	PublishP50  float64 `json:"publish_p50_ms"`
	PublishP99  float64 `json:"publish_p99_ms"`
	EndToEndP50 float64 `json:"end_to_end_p50_ms"`
	EndToEndP99 float64 `json:"end_to_end_p99_ms"`
	// Call counts from when a quote was asked for until its answer, and leaves out
	// nothing: also what waited until the other instance had the dead one's part.
	CallP50 float64 `json:"call_p50_ms"`
	CallP99 float64 `json:"call_p99_ms"`

	// Broker says where it was.
	Broker string `json:"broker"`
}

// OK reports whether all promises were kept.
func (s Summary) OK() bool {
	return s.conserved() && s.Failed+s.Unknown+s.Lost+s.Duplicated+s.OutOfOrder+s.WrongFigures == 0 &&
		s.Open+s.WrongEdits == 0 && s.Unanswered+s.WrongQuotes+s.Untrue == 0
}

// conserved reports whether every published record ended in one of the three ways.
func (s Summary) conserved() bool { return s.Published == s.Handled+s.Dead+s.Dropped }

// tell prints the summary for people.
func (s Summary) tell(to *story) {
	to.chapter("SUMMARY", "computed from what was recorded")
	unacked := ""
	if n := s.Failed + s.Unknown; n > 0 {
		unacked = "  (" + count(n) + " more were not acknowledged)"
	}
	to.mark(s.conserved() && unacked == "", "published %s = handled %s + dead %s + dropped %s%s", count(s.Published), count(s.Handled), count(s.Dead), count(s.Dropped), unacked)
	to.mark(s.Open+s.WrongEdits == 0, "redriven %s, mended wrongly %s · still open %s", count(s.Redriven), count(s.WrongEdits), count(s.Open))
	to.mark(s.Lost+s.Duplicated+s.OutOfOrder == 0, "lost %s · twice %s · out of order %s", count(s.Lost), count(s.Duplicated), count(s.OutOfOrder))
	to.mark(s.WrongFigures == 0, "figures of %s airports as in the input", count(s.Airports-s.WrongFigures))
	to.mark(s.Unanswered == 0, "calls %s = answered %s + errors %s · unanswered %s", count(s.Calls), count(s.Answered), count(s.Errors), count(s.Unanswered))
	to.mark(s.WrongQuotes+s.Untrue == 0, "wrong quotes %s · errors that are not true %s", count(s.WrongQuotes), count(s.Untrue))
	to.say(" retried " + count(s.Retried) + ", of these recovered " + count(s.Recovered) + " · damaged " + count(s.Damaged) + " · calls run again " + count(s.RunAgain))
	to.say(" " + count(s.Members) + " members, " + count(s.Rebalances) + " rebalances · per second: published " +
		count(int(s.PublishedPerSecond)) + ", handled " + count(int(s.HandledPerSecond)))
	to.say(" p50/p99 ms: publish " + times(s.PublishP50, s.PublishP99) + " · end-to-end " + times(s.EndToEndP50, s.EndToEndP99) + ", rebalances included, without " + slowOrigin + " and " + brokenOrigin)
	to.say("             call " + times(s.CallP50, s.CallP99) + ", with one of two instances killed")
}
