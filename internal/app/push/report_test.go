package push

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duplex-go/duplex"
)

func TestReportIsForPeople(t *testing.T) {
	t.Parallel()
	s := duplex.Status{
		Component: "consumer", Name: "boards", Counts: map[string]int64{"handled": 12, "failed": 3},
		Partitions: []duplex.PartitionStatus{
			{Topic: "orders", Partition: 0, Committed: -1, Watermark: 0, Frontier: 0, End: -1},
			{
				Topic: "orders", Partition: 11, Committed: 40, Watermark: 42, Frontier: 1234567, End: 9223372036854775807, Lag: 9223372036854775765,
				Loaded: 70, Running: 2, OldestRunning: 1500 * time.Millisecond, Lanes: 3, Waiting: 1, Paused: true,
			},
		},
	}
	s.SetProblems(duplex.Problem{Code: duplex.StatusRetrying, Detail: "orders/11: offset 42 waits: \x1b[2Jboom\n\tat x"})
	var b bytes.Buffer
	report(&b, "consumer", &s)
	require.Equal(t, `consumer: group "boards" is retrying
  retrying: orders/11: offset 42 waits:  [2Jboom  at x
  failed 3 handled 12
  PARTITION  COMMITTED  WATERMARK  READ TO  END                  LAG                  LOADED  RUNNING  OLDEST  LANES  WAITING  
  orders/0   -          0          0        -                    -                    0       0        -       0      0        
  orders/11  40         42         1234567  9223372036854775807  9223372036854775765  70      2        1.5s    3      1        fetching paused
`, b.String())
}

func TestReportWithoutPartitions(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	report(&b, "consumer", &duplex.Status{Name: "g", Code: duplex.StatusOK, Counts: map[string]int64{"handled": 0}})
	require.Equal(t, "consumer: group \"g\" is ok\n  handled 0\n  no partitions\n", b.String())
}

// counting counts the writes to it.
type counting struct {
	bytes.Buffer
	writes int
}

func (c *counting) Write(b []byte) (int, error) {
	c.writes++
	return c.Buffer.Write(b)
}

func TestReportIsBounded(t *testing.T) {
	t.Parallel()
	s := duplex.Status{Name: "g"}
	for i := range 1000 {
		s.Problems = append(s.Problems, duplex.Problem{Code: duplex.StatusRetrying, Detail: fmt.Sprint(i)})
		s.Partitions = append(s.Partitions, duplex.PartitionStatus{Topic: "orders", Partition: int32(i)})
	}
	var b counting
	report(&b, "consumer", &s)
	require.Contains(t, b.String(), "  and 800 more problems\n")
	require.Contains(t, b.String(), "  and 800 more partitions\n")
	require.Equal(t, 405, strings.Count(b.String(), "\n"))
	require.Equal(t, 1, b.writes, "in one piece")
}
