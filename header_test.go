package duplex_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"

	"github.com/duplex-go/duplex"
)

func ExampleHeader() {
	r := &kgo.Record{}
	duplex.AddHeader(r, "via", "gate-a")
	duplex.AddHeader(r, "trace", "17")
	duplex.AddHeader(r, "via", "gate-b") // a name may repeat

	last, ok := duplex.Header(r, "via")
	fmt.Println(last, ok)
	fmt.Printf("%s\n", duplex.HeaderValues(r, "via"))

	duplex.SetHeader(r, "via", "gate-c") // one value, where the first one stood
	for _, h := range r.Headers {
		fmt.Printf("%s: %s\n", h.Key, h.Value)
	}
	// Output:
	// gate-b true
	// [gate-a gate-b]
	// via: gate-c
	// trace: 17
}

// pairs makes headers of names and values by turns.
func pairs(texts ...string) []kgo.RecordHeader {
	headers := []kgo.RecordHeader{}
	for p := range slices.Chunk(texts, 2) {
		headers = append(headers, kgo.RecordHeader{Key: p[0], Value: []byte(p[1])})
	}
	return headers
}

func TestHeaders(t *testing.T) {
	t.Parallel()
	r := &kgo.Record{Headers: pairs("a", "1", "b", "2", "a", "3", "c", "4", "A", "5")}
	value, ok := duplex.Header(r, "a")
	require.True(t, ok)
	require.Equal(t, "3", value, "the last one wins, and names are compared exactly")
	_, ok = duplex.Header(r, "B")
	require.False(t, ok)
	require.Equal(t, [][]byte{[]byte("1"), []byte("3")}, duplex.HeaderValues(r, "a"))
	require.Nil(t, duplex.HeaderValues(r, "none"))

	duplex.SetHeader(r, "a", "new")
	require.Equal(t, pairs("a", "new", "b", "2", "c", "4", "A", "5"), r.Headers)
	duplex.SetHeader(r, "d", "6")
	require.Equal(t, pairs("a", "new", "b", "2", "c", "4", "A", "5", "d", "6"), r.Headers)
	duplex.AddHeader(r, "b", "7")
	require.Equal(t, pairs("a", "new", "b", "2", "c", "4", "A", "5", "d", "6", "b", "7"), r.Headers)
	duplex.DeleteHeader(r, "b")
	require.Equal(t, pairs("a", "new", "c", "4", "A", "5", "d", "6"), r.Headers)
	duplex.DeleteHeader(r, "none")
	require.Equal(t, pairs("a", "new", "c", "4", "A", "5", "d", "6"), r.Headers)
}

func TestHeaderThatIsEmptyIsThere(t *testing.T) {
	t.Parallel()
	r := &kgo.Record{Headers: []kgo.RecordHeader{{Key: "", Value: nil}}}
	value, ok := duplex.Header(r, "")
	require.True(t, ok)
	require.Empty(t, value)
	_, ok = duplex.Header(&kgo.Record{}, "")
	require.False(t, ok)
}

// Records may share a slice of headers: those that one program gives to all its
// records, or those of a fetch. Spare capacity behind it is shared as well.
func TestHeadersThatAreSharedStayAsTheyAre(t *testing.T) {
	t.Parallel()
	names := rapid.SampledFrom([]string{"a", "b", "c"})
	rapid.Check(t, func(t *rapid.T) {
		spare := rapid.IntRange(0, 3).Draw(t, "spare")
		common := pairs(rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b"}), 0, 6).Filter(func(s []string) bool { return len(s)%2 == 0 }).Draw(t, "common")...)
		common = slices.Grow(common, spare)
		before := slices.Clone(common)
		one, two := &kgo.Record{Headers: common}, &kgo.Record{Headers: common}
		change := func(r *kgo.Record, mark string) {
			name := names.Draw(t, "name")
			switch rapid.IntRange(0, 2).Draw(t, "change") {
			case 0:
				duplex.SetHeader(r, name, mark)
			case 1:
				duplex.AddHeader(r, name, mark)
			default:
				duplex.DeleteHeader(r, name)
			}
		}
		change(one, "one")
		kept := fmt.Sprint(one.Headers)
		change(two, "two")
		if have := fmt.Sprint(one.Headers); have != kept {
			t.Fatalf("a change of one record shows in another: %s became %s", kept, have)
		}
		if fmt.Sprint(before) != fmt.Sprint(common) {
			t.Fatalf("the shared slice changed: %v became %v", before, common)
		}
	})
}
