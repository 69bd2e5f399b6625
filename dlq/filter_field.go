package dlq

import "time"

// kind is what a field holds.
type kind uint8

const (
	kindText kind = iota
	kindFingerprint
	kindKey
	kindHeader
	kindNumber
	kindTime
	kindAge
)

// filterField is a field that filters have.
type filterField struct {
	name   string
	kind   kind
	text   func(*Letter) string
	number func(*Letter) (n int64, known bool)
	time   func(*Letter) time.Time
	oneOf  []string // what it can be
}

// filterFields are all, in the order in which they are listed.
//
//nolint:gochecknoglobals // a constant
var filterFields = []filterField{
	{name: "fingerprint", kind: kindFingerprint},
	{name: "reason", text: func(l *Letter) string { return string(l.Reason) }},
	{name: "type", text: func(l *Letter) string { return l.ErrorType }},
	{name: "code", text: func(l *Letter) string { return l.ErrorCode }},
	{name: "message", text: func(l *Letter) string { return l.ErrorMessage }},
	{name: "group", text: func(l *Letter) string { return l.Group }},
	{name: "handler", text: func(l *Letter) string { return l.Handler }},
	{name: "origin", text: func(l *Letter) string { return l.Origin.Topic }},
	{name: "partition", kind: kindNumber, number: func(l *Letter) (int64, bool) { return int64(l.Origin.Partition), l.Origin.Partition >= 0 }},
	{name: "offset", kind: kindNumber, number: func(l *Letter) (int64, bool) { return l.Origin.Offset, l.Origin.Offset >= 0 }},
	{name: "key", kind: kindKey},
	{name: "header", kind: kindHeader},
	{name: "failed", kind: kindTime, time: (*Letter).when},
	{name: "first", kind: kindTime, time: func(l *Letter) time.Time { return l.FirstFailed }},
	{name: "time", kind: kindTime, time: func(l *Letter) time.Time { return l.Time }},
	{name: "age", kind: kindAge, time: (*Letter).when},
	{name: "generation", kind: kindNumber, number: func(l *Letter) (int64, bool) { return int64(l.Generation), true }},
	{name: "attempts", kind: kindNumber, number: func(l *Letter) (int64, bool) { return int64(l.Attempts), true }},
	{name: "state", text: func(l *Letter) string { return string(l.State) }, oneOf: []string{
		string(StateOpen), string(StateSelected), string(StateRedriven), string(StateHandled), string(StateDeadAgain), string(StateDiscarded), string(StateDuplicate),
	}},
	{name: "id", text: func(l *Letter) string { return l.ID }},
	{name: "dialect", text: func(l *Letter) string { return string(l.Dialect) }, oneOf: []string{
		string(DialectDuplex), string(DialectSpring), string(DialectConnect), string(DialectStreams), string(DialectShare),
		string(DialectWatermill), string(DialectKarafka), string(DialectSmallRye), string(DialectUnknown),
	}},
}

// operators are what may stand behind a field.
func (k kind) operators() string {
	switch k {
	case kindNumber, kindTime:
		return "= < <= > >="
	case kindAge:
		return "< <= > >="
	default:
		return "= ~"
	}
}

func fieldNamed(name string) (filterField, bool) {
	for _, f := range filterFields {
		if f.name == name {
			return f, true
		}
	}
	return filterField{}, false
}

func fieldNames() (names []string) {
	for _, f := range filterFields {
		names = append(names, f.name)
	}
	return names
}

// nearest is the name that is most like a word, "" if none is.
func nearest(word string, names []string) (found string) {
	least := 3 // more than two letters changed is another word
	for _, n := range names {
		if d := distance(word, n); d < least && d < len(n) {
			least, found = d, n
		}
	}
	return found
}

// distance is how many letters must be added, removed or changed.
func distance(a, b string) int {
	if len(a) > 32 {
		return len(a)
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		last := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := last
			if a[i] != b[j] {
				cost = 1 + min(last, row[j], row[j+1])
			}
			last, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
