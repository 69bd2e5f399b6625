package compare

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/duplex-go/duplex/rpc"
)

// Row is one difference: what was measured of either form, and the sentence that follows
// from it.
type Row struct {
	Name   string `json:"name"`
	Calls  string `json:"calls"`
	Events string `json:"events"`
	So     string `json:"so"`
}

// rows are the table. What they claim depends on the figures: where these do not show
// the difference, the sentence says so.
func (r Report) rows(names Names) []Row {
	return []Row{r.timing(), r.coupling(), r.complexity(names), r.scalability(), r.handlingOfFailures(), r.load(names), r.use()}
}

// shows is by how much one figure must be larger than another to be a difference.
const shows = 1.2

func (r Report) timing() Row {
	m := r.of(normal)
	row := Row{
		Name: "Timing",
		Calls: fmt.Sprintf("The caller waits for the answer: %s (p50/p99), %s of it for the work. Then it is done.",
			times(m.Calls.Blocked), took(milliseconds(work))),
		Events: fmt.Sprintf("The caller waits until the record is stored: %s. The work was done after %s.",
			times(m.Events.Blocked), times(m.Events.Done)),
		So: "Here the caller of an event waited as long as that of a call: the work takes no longer than storing it.",
	}
	if m.Calls.Blocked.P50 > shows*m.Events.Blocked.P50 {
		row.So = fmt.Sprintf("The caller of an event was free %s times as soon", ratio(m.Calls.Blocked.P50, m.Events.Blocked.P50))
		switch {
		case m.Events.Done.P50 > shows*m.Calls.Done.P50:
			row.So += ", and the work was done later."
		case m.Calls.Done.P50 > shows*m.Events.Done.P50:
			row.So += ", and the work was done sooner."
		default:
			row.So += "; the work was done at the same time."
		}
	}
	return row
}

func (r Report) coupling() Row {
	m := r.of(dead)
	if m.Outage == nil {
		return Row{Name: "Coupling"}
	}
	c, e := m.Outage.Calls, m.Outage.Events
	calls := []string{fmt.Sprintf("Server dead for %s: %s of %s calls answered.", seconds(c.Seconds), count(c.Accepted), count(c.Units))}
	if c.Unknown > 0 {
		calls = append(calls, fmt.Sprintf("%s ended after %s, not knowing whether they ran.", count(c.Unknown), took(c.BlockedUnknown.P50)))
	}
	if c.Refused > 0 {
		calls = append(calls, fmt.Sprintf("From %s on %s were refused after %s, surely not run.", seconds(c.RefusedFrom), count(c.Refused), took(c.BlockedRefused.P50)))
	}
	row := Row{
		Name:  "Coupling",
		Calls: strings.Join(calls, " "),
		Events: fmt.Sprintf("Consumer dead for %s: %s of %s events stored, callers free after %s; %s handled, the last %s after another was there.",
			seconds(e.Seconds), count(e.Accepted), count(e.Units), took(e.BlockedAccepted.P50), count(e.Handled), seconds(e.LastAfterBack)),
		So: "Here neither form was hurt by the outage.",
	}
	callsHurt, eventsHurt := c.Accepted < c.Units, e.Handled < e.Units
	switch {
	case callsHurt && eventsHurt:
		row.So = "Both forms were hurt by the outage."
	case callsHurt:
		row.So = "A call needs its server now. An event needs its consumer some time: none was lost."
	case eventsHurt:
		row.So = "Here only events were hurt by the outage."
	}
	return row
}

func (r Report) complexity(names Names) Row {
	m, f, d := r.of(normal), r.of(failing), r.of(dead)
	topics := func(each ...map[string]int) int {
		all := map[string]bool{}
		for _, of := range each {
			for topic := range of {
				all[topic] = true
			}
		}
		return len(all)
	}
	callTopics := topics(m.Calls.RecordsByTopic, f.Calls.RecordsByTopic, map[string]int{rpc.ClaimTopic(names.Caller): 1})
	eventTopics := topics(m.Events.RecordsByTopic, f.Events.RecordsByTopic)
	row := Row{
		Name: "Complexity",
		Calls: fmt.Sprintf("%d lines: a method, a server, a client. %s. Whether a call ran that got no answer, its caller must find out: of %s such calls %s had run.",
			r.Code.CallLines, plural(callTopics, "topic"), count(r.unanswered()), count(r.maybeRan())),
		Events: fmt.Sprintf("%d lines: a topic, a producer, a consumer, retries, a reader of dead letters. %s. A crash may repeat work, so it must bear that: %s repeated.",
			r.Code.EventLines, plural(eventTopics, "topic"), count(d.Events.Repeated)),
		So: "Both take about as many lines.",
	}
	a, b := float64(r.Code.CallLines), float64(r.Code.EventLines)
	switch {
	case b > shows*a:
		row.So = fmt.Sprintf("Events take %s times as many lines, and the caller's question \"is it done?\" has no answer yet.", ratio(b, a))
	case a > shows*b:
		row.So = fmt.Sprintf("Calls take %s times as many lines.", ratio(a, b))
	}
	return row
}

// unanswered counts the calls whose callers do not know whether they ran, maybeRan those
// of them that did.
func (r Report) unanswered() (n int) {
	for _, m := range r.Scenarios {
		for name, of := range m.Calls.Errors {
			if strings.HasSuffix(name, string(rpc.Maybe)) {
				n += of
			}
		}
	}
	return n
}

func (r Report) maybeRan() (n int) {
	for _, m := range r.Scenarios {
		n += m.Calls.MaybeRan
	}
	return n
}

func (r Report) scalability() Row {
	b, s := r.of(burst), r.of(slow)
	row := Row{
		Name: "Scalability",
		Calls: fmt.Sprintf("Burst of %s: %s answered by the deadline of %s%s. Slow server: %s answered.",
			count(b.Calls.Units), percent(b.Calls.Accepted, b.Calls.Units), took(milliseconds(deadline)), errorsOf(b.Calls.Errors), percent(s.Calls.Accepted, s.Calls.Units)),
		Events: fmt.Sprintf("Burst of %s: %s handled, the last after %s; up to %s waited in the topic. Slow server: %s handled, the last %s after the load had ended.",
			count(b.Events.Units), percent(b.Events.Handled, b.Events.Units), seconds(b.Events.DrainSeconds), count(max(b.Events.MostWaiting, s.Events.MostWaiting)),
			percent(s.Events.Handled, s.Events.Units), seconds(s.Events.DrainSeconds)),
		So: "This load was too small to tell: the same workers answered all calls in time.",
	}
	missed := b.Calls.Units - b.Calls.Accepted + s.Calls.Units - s.Calls.Accepted
	kept := b.Events.Handled == b.Events.Units && s.Events.Handled == s.Events.Units
	switch {
	case missed > 0 && kept:
		row.So = fmt.Sprintf("The same %d workers both ways, who can do %s trips within that deadline. Beyond that calls failed, %s with those of the slow server, and events waited.",
			workers, count(workers*int(deadline/work)), count(missed))
	case missed > 0:
		row.So = "Neither form got through this load as a whole."
	}
	return row
}

// errorsOf lists errors with their counts.
func errorsOf(errors map[string]int) string {
	var said strings.Builder
	for _, name := range slices.Sorted(maps.Keys(errors)) {
		code, executed, _ := strings.Cut(name, ", ")
		fmt.Fprintf(&said, ", %s %s (%s)", count(errors[name]), code, executed)
	}
	return said.String()
}

func (r Report) handlingOfFailures() Row {
	m := r.of(failing)
	c, e := m.Calls, m.Events
	row := Row{
		Name:  "Failure handling",
		Calls: fmt.Sprintf("%s of %s failed. Their callers knew after %s%s. What then is up to them.", count(c.failed()), count(c.Units), times(c.Failed), errorsOf(c.Errors)),
		Events: fmt.Sprintf("%s runs failed, and no caller heard of it. %s were done by a retry, after %s; %s are dead letters, for somebody to look at.",
			count(e.FailedRuns), count(e.Recovered), times(e.Recovery), count(e.Dead)),
		So: "Nothing failed, so nothing is shown.",
	}
	if c.failed()+e.FailedRuns > 0 {
		row.So = fmt.Sprintf("A call's caller hears of a failure at once and decides. Of events %s cured themselves, %s need a person, and the caller hears of neither.",
			count(e.Recovered), count(e.Dead))
	}
	return row
}

func (r Report) load(names Names) Row {
	m, b, s := r.of(normal), r.of(burst), r.of(slow)
	waitedCalls, waitedEvents := b.Calls.BlockedSeconds+s.Calls.BlockedSeconds, b.Events.BlockedSeconds+s.Events.BlockedSeconds
	return Row{
		Name: "System load",
		Calls: fmt.Sprintf("%s records and %s bytes on the wire each. Burst: %s callers waited at once, %d handlers ran, %s requests a call; %s ran for callers that had given up (slow server: %s). Burst and slow server: callers waited %s in all.",
			each(m.Calls.Records, m.Calls.Units), bytesEach(m.Calls), count(b.Calls.MostCallers), b.Calls.MostHandlers,
			each(b.Calls.RecordsByTopic[rpc.RequestTopic(names.Service)], b.Calls.Units), count(b.Calls.InVain), count(s.Calls.InVain), seconds(waitedCalls)),
		Events: fmt.Sprintf("%s records and %s bytes on the wire each. Burst: %s callers waited at once, for %s (p99); then %s trips waited in the topic, and %d handlers ran. Burst and slow server: callers waited %s in all.",
			each(m.Events.Records, m.Events.Units), bytesEach(m.Events), count(b.Events.MostCallers), took(b.Events.Blocked.P99), count(b.Events.MostWaiting),
			b.Events.MostHandlers, seconds(waitedEvents)),
		So: strings.Join(r.loads(waitedCalls, waitedEvents), " "),
	}
}

// loads are the sentences that follow: who carries the peak, and what it costs Kafka.
func (r Report) loads(waitedCalls, waitedEvents float64) (so []string) {
	m, b := r.of(normal), r.of(burst)
	if b.Calls.MostHandlers <= workers && b.Events.MostHandlers <= workers {
		so = append(so, fmt.Sprintf("Either way the peak met %d workers and no more.", workers))
	} else {
		so = append(so, fmt.Sprintf("The peak met %d workers of calls and %d of events.", b.Calls.MostHandlers, b.Events.MostHandlers))
	}
	switch {
	case waitedCalls > shows*waitedEvents:
		so = append(so, fmt.Sprintf("With calls it is the callers who carry it, waiting %s times as long; with events it is the topic.", ratio(waitedCalls, waitedEvents)))
	default:
		so = append(so, "Here callers waited no longer for calls than for events.")
	}
	calls, events := perUnit(m.Calls.WireBytes, m.Calls.Units), perUnit(m.Events.WireBytes, m.Events.Units)
	switch {
	case calls > shows*events:
		so = append(so, fmt.Sprintf("A call costs %s times the bytes.", ratio(calls, events)))
	case events > shows*calls:
		so = append(so, fmt.Sprintf("An event costs %s times the bytes.", ratio(events, calls)))
	}
	return so
}

func bytesEach(f Figures) string { return count(int(perUnit(f.WireBytes, f.Units))) }

func perUnit(n int64, units int) float64 { return float64(n) / float64(max(units, 1)) }

func each(n, units int) string { return fmt.Sprintf("%.2f", perUnit(int64(n), units)) }

func (r Report) use() Row {
	m, t := r.of(normal), r.Totals
	return Row{
		Name: "Use",
		Calls: fmt.Sprintf("Authentication, look-ups, validation, create-read-update-delete: %s of %s answered, in %s under normal load; the others had an error after %s at most.",
			count(t.Answered), count(t.Calls), took(m.Calls.Blocked.P50), took(r.latestError())),
		Events: fmt.Sprintf("Background jobs, notifications, distribution of work: %s of %s done in the end, %s left for a person, %s lost.",
			count(t.Handled), count(t.Events), count(t.Dead), count(t.Events-t.Handled-t.Dead-t.NotStored)),
		So: "Who needs the answer calls. Who needs it done publishes.",
	}
}

// latestError is after how many milliseconds the last of the callers that got an error
// had it.
func (r Report) latestError() (most float64) {
	for _, m := range r.Scenarios {
		most = max(most, m.Calls.Failed.Most)
	}
	return most
}

// choose are the sentences on when to choose which. What they say of this run they say
// only where all promises were kept.
func (r Report) choose() []string {
	m := r.of(normal)
	call := "Call when the caller cannot go on without the answer, and knows what to do when there is none"
	event := "Publish an event when the work must be done, but need not be done now"
	if r.OK() {
		call += fmt.Sprintf(": here the answer took %s under normal load, and without one there was an error, after %s at most with a deadline of %s",
			took(m.Calls.Blocked.P50), took(r.latestError()), took(milliseconds(deadline)))
		event += fmt.Sprintf(": here the caller was free after %s, and the work was done all the same when the server was slow, dead for a while, or flooded",
			took(m.Events.Blocked.P50))
	}
	both := "Do both where one request is two things: answer the call with what is sure now, such as \"accepted\", and publish the rest as an event"
	return []string{call + ".", event + ".", both + "."}
}
