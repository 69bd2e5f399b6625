package duplex_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"

	"github.com/duplex-go/duplex"
)

// Departure is the value of the topic that the examples and tests share.
type Departure struct {
	Flight string `json:"flight"`
	Origin string `json:"origin"`
	Gate   string `json:"gate,omitempty"`
}

// Departures is declared once, as in a program.
var Departures = duplex.Topic[Departure]{
	Name: "departures",
	Key:  func(d Departure) string { return d.Origin },
}

func ExampleTopic() {
	r, err := Departures.Record(Departure{Flight: "LH 454", Origin: "FRA"})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("topic %s, key %s, value %s\n", r.Topic, r.Key, r.Value)

	d, err := Departures.Value(r)
	fmt.Println(d.Flight, err)
	// Output:
	// topic departures, key FRA, value {"flight":"LH 454","origin":"FRA"}
	// LH 454 <nil>
}

func ExampleTopic_Record() {
	// Record is for what a value cannot say, such as a header.
	r, err := Departures.Record(Departure{Flight: "LH 454", Origin: "FRA"})
	if err != nil {
		fmt.Println(err)
		return
	}
	duplex.SetHeader(r, "source", "gate-a")
	for _, h := range r.Headers {
		fmt.Printf("%s: %s\n", h.Key, h.Value)
	}

	_, err = Departures.Record(Departure{Flight: "LH 455"})
	fmt.Println(err)
	// Output:
	// content-type: application/json
	// source: gate-a
	// duplex: encoding a duplex_test.Departure for topic "departures": empty-key (fill the field that Topic.Key reads, or leave Topic.Key nil for records without a key)
}

func ExampleTopic_Value() {
	_, err := Departures.Value(&kgo.Record{Topic: "departures", Partition: 3, Offset: 17, Value: []byte("LH 454")})
	fmt.Println(duplex.CodeOf(err))
	fmt.Println(err)
	// Output:
	// undecodable
	// duplex: decoding departures/3 offset 17 into duplex_test.Departure: undecodable: invalid character 'L' looking for beginning of value
}

func TestRecordOfATopic(t *testing.T) {
	t.Parallel()
	r, err := Departures.Record(Departure{Flight: "LH 454", Origin: "FRA"})
	require.NoError(t, err)
	require.Equal(t, &kgo.Record{
		Topic: "departures", Key: []byte("FRA"), Value: []byte(`{"flight":"LH 454","origin":"FRA"}`),
		Headers: []kgo.RecordHeader{{Key: "content-type", Value: []byte("application/json")}},
	}, r, "and no other byte")

	keyless := duplex.Topic[Departure]{Name: "departures"}
	r, err = keyless.Record(Departure{Flight: "LH 454"})
	require.NoError(t, err)
	require.Nil(t, r.Key, "without Key the key is null, not empty")
}

func TestRecordIsRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		topic duplex.Topic[any]
		value any
		code  duplex.Code
		text  string
	}{
		{duplex.Topic[any]{}, "x", duplex.ErrInvalidTopic, "must not be empty"},
		{duplex.Topic[any]{Name: "a b"}, "x", duplex.ErrInvalidTopic, "position 1 is ' '"},
		{duplex.Topic[any]{Name: "orders", Key: func(any) string { return "" }}, "x", duplex.ErrEmptyKey, `topic "orders"`},
		{duplex.Topic[any]{Name: "orders"}, make(chan int), duplex.ErrEncode, `encoding a chan int for topic "orders"`},
		{duplex.Topic[any]{Name: "orders", Codec: duplex.Text}, 7, duplex.ErrEncode, "text codec takes a string, got int"},
	} {
		r, err := c.topic.Record(c.value)
		require.Nil(t, r)
		require.ErrorIs(t, err, c.code)
		require.Equal(t, c.code, duplex.CodeOf(err), "and no other code comes first")
		require.ErrorContains(t, err, c.text)
	}
}

func TestValueOfAPointerType(t *testing.T) {
	t.Parallel()
	topic := duplex.Topic[*Departure]{Name: "departures"}
	r, err := topic.Record(&Departure{Flight: "LH 454"})
	require.NoError(t, err)
	first, err := topic.Value(r)
	require.NoError(t, err)
	require.Equal(t, &Departure{Flight: "LH 454"}, first)
	second, err := topic.Value(r)
	require.NoError(t, err)
	require.NotSame(t, first, second, "every record has a value of its own")

	null, err := topic.Value(&kgo.Record{Value: []byte("null")})
	require.NoError(t, err)
	require.Equal(t, &Departure{}, null, "handlers of a pointer type never get nil")
}

func TestValueThatIsRefusedIsZero(t *testing.T) {
	t.Parallel()
	r := &kgo.Record{Topic: "departures", Partition: 3, Offset: 17, Value: []byte(`{"flight":"LH 454","origin":5}`)}
	v, err := Departures.Value(r)
	require.Zero(t, v, "not half of a value")
	require.ErrorIs(t, err, duplex.ErrUndecodable)
	require.ErrorContains(t, err, "departures/3 offset 17 into duplex_test.Departure")

	p, err := duplex.Topic[*Departure]{Name: "departures"}.Value(r)
	require.Nil(t, p)
	require.ErrorContains(t, err, "into *duplex_test.Departure")
}

func TestTopicNames(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"a", "...", "a.b_c-D9", "-", "_", strings.Repeat("x", 249)} {
		require.NoError(t, duplex.ValidateTopicName(good))
	}
	for bad, why := range map[string]string{
		"":                         "must not be empty",
		".":                        `"." and ".." are not topic names`,
		"..":                       `"." and ".." are not topic names`,
		strings.Repeat("x", 250):   "at most 249 characters, this one has 250",
		"orders/eu":                "position 6 is '/'",
		"Bestellüng":               "position 7 is 'ü'",
		"orders\n":                 `position 6 is '\n'`,
		"\xff":                     "position 0 is",
		strings.Repeat(" ", 9<<20): "at most 249 characters",
	} {
		err := duplex.ValidateTopicName(bad)
		require.ErrorIs(t, err, duplex.ErrInvalidTopic)
		require.ErrorContains(t, err, why)
		require.Less(t, len(err.Error()), 700, "a hostile name does not fill the log")
	}
}

// The rule of org.apache.kafka.common.internals.Topic, as it is written there.
var legalName = regexp.MustCompile(`\A[a-zA-Z0-9._-]{1,249}\z`)

func TestTopicNamesAgainstKafkasRule(t *testing.T) {
	t.Parallel()
	names := rapid.OneOf(
		rapid.String(),
		rapid.StringMatching(`[.]{0,4}`),
		rapid.StringMatching(`[a-zA-Z0-9._-]{0,255}`),
		rapid.StringMatching(`[a-zA-Z0-9._-]{0,20}[^a-z]?[a-zA-Z0-9._-]{0,20}`),
	)
	rapid.Check(t, func(t *rapid.T) {
		name := names.Draw(t, "name")
		legal := legalName.MatchString(name) && name != "." && name != ".."
		if err := duplex.ValidateTopicName(name); (err == nil) != legal {
			t.Fatalf("%q: legal is %v, got %v", name, legal, err)
		}
	})
}

func TestPosition(t *testing.T) {
	t.Parallel()
	require.Equal(t, "orders/3/17", duplex.Position{Topic: "orders", Partition: 3, Offset: 17}.String())
}
