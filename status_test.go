package duplex_test

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duplex-go/duplex"
)

// statusCodes reads the constants of status.go, in their order there, so that
// one that is added later is tested too.
func statusCodes(t *testing.T) []duplex.StatusCode {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "status.go", nil, parser.SkipObjectResolution)
	require.NoError(t, err)
	var codes []duplex.StatusCode
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if name, ok := spec.Type.(*ast.Ident); ok && name.Name == "StatusCode" {
			for _, v := range spec.Values {
				text, err := strconv.Unquote(v.(*ast.BasicLit).Value)
				require.NoError(t, err)
				codes = append(codes, duplex.StatusCode(text))
			}
		}
		return true
	})
	require.GreaterOrEqual(t, len(codes), 11)
	require.Equal(t, duplex.StatusOK, codes[0])
	return codes
}

// outweighs tells which of two codes a status shows that has problems of both.
func outweighs(a, b duplex.StatusCode) bool {
	var s duplex.Status
	s.SetProblems(duplex.Problem{Code: a}, duplex.Problem{Code: b})
	first := s.Code
	s.SetProblems(duplex.Problem{Code: b}, duplex.Problem{Code: a})
	return first == a && s.Code == a
}

func TestEveryStatusCodeHasAWeight(t *testing.T) {
	t.Parallel()
	codes := statusCodes(t)
	for i, heavier := range codes[1:] {
		for _, lighter := range codes[:i+1] {
			require.True(t, outweighs(heavier, lighter), "%s must outweigh %s, as the order of the constants says", heavier, lighter)
		}
	}
}

func TestNoHealthyCodeHidesAnUnhealthyOne(t *testing.T) {
	t.Parallel()
	codes := statusCodes(t)
	for _, healthy := range codes {
		for _, unhealthy := range codes {
			if healthy.Healthy() && !unhealthy.Healthy() {
				require.True(t, outweighs(unhealthy, healthy), "%s must outweigh %s", unhealthy, healthy)
			}
		}
	}
}

func TestHealthy(t *testing.T) {
	t.Parallel()
	var healthy []duplex.StatusCode
	for _, c := range statusCodes(t) {
		if c.Healthy() {
			healthy = append(healthy, c)
		}
	}
	require.ElementsMatch(t, []duplex.StatusCode{
		duplex.StatusOK, duplex.StatusRetrying, duplex.StatusDataLost, duplex.StatusRetryDataLost, duplex.StatusPausedByOperator, duplex.StatusTopicRecreated,
	}, healthy)
	require.False(t, duplex.StatusCode("").Healthy(), "a status that nobody filled is not healthy")
}

func TestSetProblems(t *testing.T) {
	t.Parallel()
	var s duplex.Status
	s.SetProblems()
	require.Equal(t, duplex.Status{Code: duplex.StatusOK}, s)
	problems := []duplex.Problem{
		{Code: duplex.StatusRetrying, Detail: "orders/3"}, {Code: duplex.StatusJoining, Detail: "a"}, {Code: duplex.StatusJoining, Detail: "b"},
	}
	s.SetProblems(problems...)
	require.Equal(t, duplex.Status{Code: duplex.StatusJoining, Problems: problems}, s)
	s.SetProblems()
	require.Equal(t, duplex.Status{Code: duplex.StatusOK}, s, "problems that are over are gone")
}

// Health endpoints and commands show these names.
func TestStatusAsJSON(t *testing.T) {
	t.Parallel()
	text, err := json.Marshal(duplex.Status{Component: "producer", Code: duplex.StatusOK})
	require.NoError(t, err)
	require.JSONEq(t, `{"component":"producer","code":"ok"}`, string(text))

	text, err = json.Marshal(duplex.Status{
		Component: "consumer", Name: "boards", Code: duplex.StatusJoining, Counts: map[string]int64{"handled": 7},
		Problems:   []duplex.Problem{{Code: duplex.StatusJoining, Detail: "no answer yet"}},
		Partitions: []duplex.PartitionStatus{{Topic: "departures", Partition: 3, Committed: -1, End: -1}},
	})
	require.NoError(t, err)
	require.JSONEq(t, `{"component":"consumer","name":"boards","code":"joining","counts":{"handled":7},
		"problems":[{"code":"joining","detail":"no answer yet"}],
		"partitions":[{"topic":"departures","partition":3,"committed":-1,"watermark":0,"frontier":0,"end":-1,"lag":0,"loaded":0,"running":0,"oldestRunningNs":0,"lanes":0,"waiting":0}]}`, string(text))
}
