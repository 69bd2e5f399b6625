package compare

import (
	"fmt"
	"time"

	"github.com/duplex-go/duplex/rpc"
)

// overdue is by how much a call may end after its deadline before that is a broken
// promise and not a machine that has other things to do.
const overdue = time.Second

// broken checks what was promised on what was recorded, and gives a sentence for each
// promise that was not kept.
func (p *phase) broken() []string {
	units, strays := p.history.all()
	counts := map[string]int{}
	for i := range units {
		for _, wrong := range p.wrongs(&units[i]) {
			counts[wrong]++
		}
	}
	if strays > 0 {
		counts[belongNowhere] = strays
	}
	var said []string
	for _, wrong := range wrongs {
		if n := counts[wrong]; n > 0 {
			said = append(said, fmt.Sprintf("%s, %s: %d of %d %s", p.scenario.name, p.form, n, len(units), wrong))
		}
	}
	return said
}

// What can be wrong with a trip.
const (
	neverReleased  = "have callers that never got anything"
	endedLate      = "ended later than a second after their deadlines"
	answeredWrong  = "were answered with another booking, or without the work done"
	neverButRan    = "ran, and their callers were told: never"
	ranNot         = "did not run, and their callers were told: completed"
	calledTwice    = "ran twice, and are not safe to"
	notStored      = "were not stored"
	lost           = "were stored, and neither handled nor are dead letters"
	handledAndDead = "were handled, and are dead letters too"
	repeatedly     = "were handled or buried twice, without a crash"
	buriedAlive    = "are dead letters, and never failed"
	belongNowhere  = "belong to no trip"
)

//nolint:gochecknoglobals // the order in which they are said
var wrongs = []string{neverReleased, endedLate, answeredWrong, neverButRan, ranNot, calledTwice, notStored, lost, handledAndDead, repeatedly, buriedAlive, belongNowhere}

// wrongs are the promises that were broken to one trip.
func (p *phase) wrongs(u *unit) []string {
	if u.released.IsZero() {
		return []string{neverReleased}
	}
	if p.form == asCalls {
		return wrongCall(u)
	}
	return p.wrongEvent(u)
}

func wrongCall(u *unit) (all []string) {
	_, well := u.handled()
	if u.released.Sub(u.began) > deadline+overdue {
		all = append(all, endedLate)
	}
	switch executed := rpc.ExecutedOf(u.err); {
	case u.err == nil && (!well || u.answer != u.want):
		all = append(all, answeredWrong)
	case u.err != nil && executed == rpc.Never && len(u.runs) > 0:
		all = append(all, neverButRan)
	case u.err != nil && executed == rpc.Completed && len(u.runs) == 0:
		all = append(all, ranNot)
	}
	if len(u.runs) > 1 {
		all = append(all, calledTwice)
	}
	return all
}

func (p *phase) wrongEvent(u *unit) (all []string) {
	_, well := u.handled()
	switch {
	case u.err != nil:
		all = append(all, notStored)
	case !well && u.letters == 0:
		all = append(all, lost)
	}
	if well && u.letters > 0 {
		all = append(all, handledAndDead)
	}
	if !p.scenario.outage() && (u.well() > 1 || u.letters > 1) {
		all = append(all, repeatedly)
	}
	if u.letters > 0 && len(u.runs) == u.well() {
		all = append(all, buriedAlive)
	}
	return all
}
