package dlq

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// family is a dialect, as a number.
type family uint8

const (
	familyDuplex family = iota
	familySpring
	familyConnect
	familyStreams
	familyShare
	familyWatermill
	familyKarafka
	familySmallRye
	noFamily
)

// families say of each dialect which fields a record must have to be of it, and whether
// its timestamp is the time of the failure: some keep that of the record that failed.
//
//nolint:gochecknoglobals // a constant
var families = [noFamily]struct {
	dialect Dialect
	must    uint32
	failed  bool
}{
	familyDuplex:    {dialect: DialectDuplex},
	familySpring:    {dialect: DialectSpring, failed: true},
	familyConnect:   {dialect: DialectConnect},
	familyStreams:   {dialect: DialectStreams},
	familyShare:     {dialect: DialectShare, failed: true},
	familyWatermill: {dialect: DialectWatermill, must: 1 << fieldMessage, failed: true},
	// Words that users take too.
	familyKarafka:  {dialect: DialectKarafka, must: 1<<fieldTopic | 1<<fieldPartition | 1<<fieldOffset, failed: true},
	familySmallRye: {dialect: DialectSmallRye, failed: true},
}

// field is what a header of a dialect says.
type field uint8

const (
	fieldOther field = iota // nothing that a letter has, but it is a header of the dialect
	fieldTopic
	fieldPartition
	fieldOffset
	fieldTimestamp
	fieldGroup
	fieldHandler
	fieldType
	fieldCauseType // weighs more than fieldType
	fieldCode
	fieldMessage
	fieldCauseMessage // where there is no fieldMessage
	fieldStack
	fieldAttempts
	fieldFewerAttempts // where there is no fieldAttempts
	fields
)

// coding is how a number is written. Where it is text, it is decimal.
type coding uint8

const (
	inText   coding = iota
	inBinary        // big-endian, of four or eight bytes
	inBigInt        // Java's BigInteger: two's complement, big-endian, as many bytes as it takes
)

// known is a header of another dialect.
type known struct {
	of    family
	field field
	in    coding
}

// knownHeaders are those of other dialects. Of what stands there more than once, the
// last counts, but of the origin the first: a dead letter that dies again is appended to.
//
//nolint:gochecknoglobals // a constant
var knownHeaders = map[string]known{
	"kafka_dlt-original-topic":          {familySpring, fieldTopic, inText},
	"kafka_dlt-original-partition":      {familySpring, fieldPartition, inBinary},
	"kafka_dlt-original-offset":         {familySpring, fieldOffset, inBinary},
	"kafka_dlt-original-timestamp":      {familySpring, fieldTimestamp, inBinary},
	"kafka_dlt-original-timestamp-type": {familySpring, fieldOther, inText},
	"kafka_dlt-original-consumer-group": {familySpring, fieldGroup, inText},
	"kafka_dlt-exception-fqcn":          {familySpring, fieldType, inText},
	"kafka_dlt-exception-cause-fqcn":    {familySpring, fieldCauseType, inText},
	"kafka_dlt-exception-message":       {familySpring, fieldMessage, inText},
	"kafka_dlt-exception-stacktrace":    {familySpring, fieldStack, inText},
	"kafka_dlt-key-exception-fqcn":      {familySpring, fieldType, inText},
	"kafka_dlt-key-exception-message":   {familySpring, fieldMessage, inText},
	// Its retry topics have other names for the same.
	"kafka_original-topic":                  {familySpring, fieldTopic, inText},
	"kafka_original-partition":              {familySpring, fieldPartition, inBinary},
	"kafka_original-offset":                 {familySpring, fieldOffset, inBinary},
	"kafka_original-timestamp":              {familySpring, fieldTimestamp, inBinary},
	"kafka_original-timestamp-type":         {familySpring, fieldOther, inText},
	"kafka_exception-fqcn":                  {familySpring, fieldType, inText},
	"kafka_exception-cause-fqcn":            {familySpring, fieldCauseType, inText},
	"kafka_exception-message":               {familySpring, fieldMessage, inText},
	"kafka_exception-stacktrace":            {familySpring, fieldStack, inText},
	"kafka_key-exception-fqcn":              {familySpring, fieldType, inText},
	"kafka_key-exception-message":           {familySpring, fieldMessage, inText},
	"kafka_key-exception-stacktrace":        {familySpring, fieldStack, inText},
	"kafka_dlt-key-exception-stacktrace":    {familySpring, fieldStack, inText},
	"kafka_deliveryAttempt":                 {familySpring, fieldFewerAttempts, inBinary},
	"retry_topic-attempts":                  {familySpring, fieldAttempts, inBinary},
	"retry_topic-original-timestamp":        {familySpring, fieldTimestamp, inBigInt},
	"retry_topic-backoff-timestamp":         {familySpring, fieldOther, inBigInt},
	"__connect.errors.topic":                {familyConnect, fieldTopic, inText},
	"__connect.errors.partition":            {familyConnect, fieldPartition, inText},
	"__connect.errors.offset":               {familyConnect, fieldOffset, inText},
	"__connect.errors.connector.name":       {familyConnect, fieldHandler, inText},
	"__connect.errors.task.id":              {familyConnect, fieldOther, inText},
	"__connect.errors.stage":                {familyConnect, fieldCode, inText},
	"__connect.errors.class.name":           {familyConnect, fieldOther, inText},
	"__connect.errors.exception.class.name": {familyConnect, fieldType, inText},
	"__connect.errors.exception.message":    {familyConnect, fieldMessage, inText},
	"__connect.errors.exception.stacktrace": {familyConnect, fieldStack, inText},
	"__streams.errors.topic":                {familyStreams, fieldTopic, inText},
	"__streams.errors.partition":            {familyStreams, fieldPartition, inText},
	"__streams.errors.offset":               {familyStreams, fieldOffset, inText},
	"__streams.errors.exception":            {familyStreams, fieldType, inText},
	"__streams.errors.message":              {familyStreams, fieldMessage, inText},
	"__streams.errors.stacktrace":           {familyStreams, fieldStack, inText},
	"__dlq.errors.topic":                    {familyShare, fieldTopic, inText},
	"__dlq.errors.partition":                {familyShare, fieldPartition, inText},
	"__dlq.errors.offset":                   {familyShare, fieldOffset, inText},
	"__dlq.errors.group":                    {familyShare, fieldGroup, inText},
	"__dlq.errors.delivery.count":           {familyShare, fieldAttempts, inText},
	"__dlq.errors.message":                  {familyShare, fieldMessage, inText},
	"reason_poisoned":                       {familyWatermill, fieldMessage, inText},
	"topic_poisoned":                        {familyWatermill, fieldTopic, inText},
	"handler_poisoned":                      {familyWatermill, fieldHandler, inText},
	"subscriber_poisoned":                   {familyWatermill, fieldOther, inText},
	"source_topic":                          {familyKarafka, fieldTopic, inText},
	"source_partition":                      {familyKarafka, fieldPartition, inText},
	"source_offset":                         {familyKarafka, fieldOffset, inText},
	"source_consumer_group":                 {familyKarafka, fieldGroup, inText},
	"source_attempts":                       {familyKarafka, fieldAttempts, inText},
	"source_trace_id":                       {familyKarafka, fieldOther, inText},
	"dead-letter-topic":                     {familySmallRye, fieldTopic, inText},
	"dead-letter-partition":                 {familySmallRye, fieldPartition, inText},
	"dead-letter-offset":                    {familySmallRye, fieldOffset, inText},
	"dead-letter-exception-class-name":      {familySmallRye, fieldType, inText},
	"dead-letter-cause-class-name":          {familySmallRye, fieldCauseType, inText},
	"dead-letter-reason":                    {familySmallRye, fieldMessage, inText},
	"dead-letter-cause":                     {familySmallRye, fieldCauseMessage, inText},
}

// lookUp finds a header of any dialect but ours.
func lookUp(name string) (known, bool) {
	if name == "" || strings.IndexByte("_krthsd", name[0]) < 0 {
		return known{}, false
	}
	k, ok := knownHeaders[name]
	return k, ok
}

// dialectOf is the family that wrote last: whoever writes a dead letter leaves the
// headers that it has, such as those of another queue that it was in, and appends. The
// parser gets our headers.
func dialectOf(headers []kgo.RecordHeader, p *parser) family {
	var seen [noFamily]uint32
	var last [noFamily]int
	for i := range headers {
		if at := slotOf(headers[i].Key); at != noSlot {
			p.keep(at, headers[i].Value)
			seen[familyDuplex], last[familyDuplex] = 1, i+1
		} else if k, ok := lookUp(headers[i].Key); ok {
			seen[k.of] |= 1 << k.field
			last[k.of] = i + 1
		}
	}
	found, at := noFamily, 0
	for f := range families {
		if last[f] > at && seen[f]&families[f].must == families[f].must {
			found, at = family(f), last[f]
		}
	}
	return found
}

// values are those of the headers of one dialect.
type values struct {
	raw  [fields][]byte
	in   [fields]coding
	name [fields]string
}

func gather(headers []kgo.RecordHeader, of family) (v values) {
	for i := range headers {
		h := &headers[i]
		k, ok := lookUp(h.Key)
		if !ok || k.of != of || k.field == fieldOther {
			continue
		}
		origin := k.field >= fieldTopic && k.field <= fieldTimestamp
		if origin && v.name[k.field] != "" {
			continue
		}
		v.raw[k.field], v.in[k.field], v.name[k.field] = h.Value, k.in, h.Key
	}
	return v
}

// foreign reads the headers of another dialect.
func (d *decoder) foreign(l *Letter, r *kgo.Record, of family) {
	v := gather(r.Headers, of)
	l.Dialect = families[of].dialect
	l.Group, l.Handler = d.word(v.raw[fieldGroup], maxWord), d.word(v.raw[fieldHandler], maxWord)
	l.Origin.Topic = d.word(v.raw[fieldTopic], maxWord)
	l.Origin.Partition = int32(v.number(l, fieldPartition, 1<<31-1, -1))
	l.Origin.Offset = v.number(l, fieldOffset, 1<<63-1, -1)
	l.Attempts = int(v.number(l, fieldAttempts, 1<<30, 0))
	if l.Attempts == 0 {
		l.Attempts = int(v.number(l, fieldFewerAttempts, 1<<30, 0))
	}
	if ms := v.number(l, fieldTimestamp, lastTime, -1); ms >= 0 {
		l.Origin.Timestamp = time.UnixMilli(ms)
	}
	if families[of].failed {
		l.LastFailed = r.Timestamp
	}
	l.Pointer = of == familyShare && r.Value == nil && l.HasOrigin()
	if d.failures {
		d.foreignFailure(l, &v)
	}
}

// foreignFailure reads what a redrive does not need.
func (d *decoder) foreignFailure(l *Letter, v *values) {
	l.ErrorType, l.ErrorCode = d.word(v.either(fieldCauseType, fieldType), maxWord), d.word(v.raw[fieldCode], maxWord)
	l.ErrorMessage = d.text(v.either(fieldMessage, fieldCauseMessage), maxMessage)
	if d.stacks {
		l.Stack = d.text(v.raw[fieldStack], maxStack)
	}
	l.Fingerprint = d.fingerprint(l, javaFrame(v.raw[fieldStack]))
}

func (v *values) either(first, second field) []byte {
	if len(v.raw[first]) > 0 {
		return v.raw[first]
	}
	return v.raw[second]
}

// number is a value from 0 to most; none is what it is without one.
func (v *values) number(l *Letter, f field, most, none int64) int64 {
	if v.name[f] == "" {
		return none
	}
	n, ok := v.in[f].parse(v.raw[f])
	if ok && n >= 0 && n <= most {
		return n
	}
	if l.Trouble == "" {
		l.Trouble = fmt.Sprintf("header %s is %q, want a number from 0 to %d", v.name[f], bounded(string(v.raw[f][:min(len(v.raw[f]), 64)]), 40), most)
	}
	return none
}

func (c coding) parse(b []byte) (n int64, ok bool) {
	switch {
	case c == inBinary && len(b) == 4:
		return int64(int32(binary.BigEndian.Uint32(b))), true
	case c == inBinary && len(b) == 8:
		return int64(binary.BigEndian.Uint64(b)), true
	case c == inBinary && len(b) == 1: // as early versions of Spring have attempts
		return int64(b[0]), true
	case c == inBigInt && len(b) >= 1 && len(b) <= 8:
		n = int64(int8(b[0]))
		for _, next := range b[1:] {
			n = n<<8 | int64(next)
		}
		return n, true
	case len(b) > 20:
		return 0, false
	}
	n, err := strconv.ParseInt(string(b), 10, 64)
	return n, err == nil
}

// maxFrames bounds how far a stack is looked through.
const maxFrames = 64 << 10

// javaFrame is the function that a stack trace of Java names first, of the innermost
// cause, outside of Java's and the frameworks' own packages.
func javaFrame(stack []byte) string {
	rest := stack[:min(len(stack), maxFrames)]
	if i := bytes.LastIndex(rest, []byte("\nCaused by: ")); i >= 0 {
		rest = rest[i+1:]
	}
	var first []byte
	for len(rest) > 0 {
		var line []byte
		line, rest, _ = bytes.Cut(rest, []byte("\n"))
		frame, ok := bytes.CutPrefix(bytes.TrimSpace(line), []byte("at "))
		if !ok {
			continue
		}
		frame, _, _ = bytes.Cut(frame, []byte("("))
		frame, _, _ = bytes.Cut(frame, []byte("$$")) // what follows is numbered at run time
		if frame = frame[:min(len(frame), maxWord)]; first == nil {
			first = frame
		}
		if !inFramework(frame) {
			first = frame
			break
		}
	}
	return bounded(string(first), maxWord)
}

func inFramework(frame []byte) bool {
	if i := bytes.IndexByte(frame, '/'); i >= 0 { // java.base/java.util…
		frame = frame[i+1:]
	}
	for _, of := range [...]string{"java.", "javax.", "jdk.", "sun.", "kotlin.", "org.springframework.", "org.apache.kafka."} {
		if len(frame) >= len(of) && string(frame[:len(of)]) == of {
			return true
		}
	}
	return false
}
