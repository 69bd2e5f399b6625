package main

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex/dlq"
)

// As for the other workloads, the figures mean nothing here.
func TestLettersAreMeasuredAndReported(t *testing.T) {
	var out, talk bytes.Buffer
	args := []string{"letters", "-brokers", strings.Join(fake(t), ","), "-rounds", "1", "-scale", "0.002", "-partitions", "2", "-json"}
	require.NoError(t, run(t.Context(), args, strings.NewReader(""), &out, &talk), talk.String())
	var r report
	require.NoError(t, json.Unmarshal(out.Bytes(), &r))
	require.Len(t, r.Workloads, len(letterWorkloads()))
	for _, m := range r.Workloads {
		for _, a := range m.Workload.arms() {
			require.Len(t, m.Runs[a], 1, "%s, %s", m.Workload.Name, a)
			require.EqualValues(t, m.Workload.Records, m.Runs[a][0].Tally.Count)
			require.Positive(t, m.Runs[a][0].Seconds)
		}
	}
	for _, asked := range []string{"| group dead letters | kgo | 0.70 |", "| group dead letters: duplex dlq groups | duplex | 0.67 |", "| redrive | kgo | 0.70 |"} {
		require.Contains(t, talk.String(), asked)
	}
}

// TestRedrivesThatLoseOrDamageVoidARun: what came back is read as readers of committed records
// do, and compared byte by byte.
func TestRedrivesThatLoseOrDamageVoidARun(t *testing.T) {
	brokers := fake(t)
	w := workload{Name: "redrive", Kind: redriveLetters, Bytes: 100, Records: 40, Keys: 10}
	for name, harm := range map[string]func(r *kgo.Record, i int) bool{
		"a record is missing": func(_ *kgo.Record, i int) bool { return i != 7 },
		"one byte differs":    func(r *kgo.Record, i int) bool { r.Value = append([]byte{byte(i)}, r.Value[1:]...); return true },
	} {
		c, err := connect(t.Context(), brokers) // the topic is made again
		require.NoError(t, err)
		b := bench{options: options{Brokers: brokers, Partitions: 2}, cluster: c, talk: t.Output(), id: strings.ReplaceAll(name, " ", "-")}
		b.run = func(ctx context.Context, s spec) (result, error) {
			from := newSource(s.Beside, w)
			for i := range w.Records {
				r := from.record(i)
				if harm(r, i) {
					if err := c.client.ProduceSync(ctx, r).FirstErr(); err != nil {
						return result{}, err
					}
				}
			}
			return result{Seconds: 1, Tally: tally{Count: int64(w.Records)}}, nil
		}
		p, err := b.prepare(t.Context(), w)
		require.NoError(t, err)
		_, err = p.run(t.Context(), armKgo, false)
		require.ErrorContains(t, err, "not those of the queue", name)
		p.done()
		c.close()
	}
}

// TestLettersOfTheBenchAreOurs: an inspector would read nothing else.
func TestLettersOfTheBenchAreOurs(t *testing.T) {
	r := broughtBack("back", &kgo.Record{Partition: 1, Key: []byte("k"), Value: []byte("v"), Headers: letterHeaders(1, 7)})
	names := map[string]bool{}
	for _, h := range r.Headers {
		names[h.Key] = true
	}
	for _, kept := range []string{"tenant", dlq.HeaderID, dlq.HeaderOriginOffset, dlq.HeaderAttempt, dlq.HeaderGeneration, dlq.HeaderRedriveID} {
		require.True(t, names[kept], kept)
	}
	require.False(t, names[dlq.HeaderErrorMessage])
	require.Len(t, letterHeaders(0, 0), 17)
}
