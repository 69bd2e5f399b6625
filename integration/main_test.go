package integration

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/testcontainers/testcontainers-go/log"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { os.Exit(runTests(m)) }

// runTests owns what the tests of one run share: the engine's probe, one broker
// and the built binaries. They are made at their first use and removed here.
func runTests(m *testing.M) int {
	if os.Getenv(helperVariable) != "" {
		return m.Run() // this process is a program for another one's tests
	}
	log.SetDefault(log.NewNoopLogger())
	if os.Getenv("TESTCONTAINERS_RYUK_DISABLED") == "" {
		// sweep does the reaper's work without another image to pull.
		_ = os.Setenv("TESTCONTAINERS_RYUK_DISABLED", "true")
	}
	if err := kafkaMissing(); err != nil {
		announce(err)
	}
	code := m.Run()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := errors.Join(oneNode.close(ctx), oneCluster.close(ctx), binaries.remove()); err != nil {
		fmt.Fprintln(os.Stderr, "integration:", err)
		code = max(code, 1)
	}
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, "integration: goroutines were left behind:", err)
			code = 1
		}
	}
	return code
}

// requireKafka reports whether a missing Kafka is a failure.
func requireKafka() bool {
	v := os.Getenv("REQUIRE_KAFKA")
	return v != "" && v != "0"
}

// givenBrokers are those of DUPLEX_TEST_BROKERS.
func givenBrokers() []string {
	var found []string
	for b := range strings.SplitSeq(os.Getenv("DUPLEX_TEST_BROKERS"), ",") {
		if b = strings.TrimSpace(b); b != "" {
			found = append(found, b)
		}
	}
	return found
}

// kafkaMissing says why no test can reach a real Kafka, nil when one can.
func kafkaMissing() error {
	if len(givenBrokers()) > 0 {
		return nil
	}
	return engineMissing()
}

// announce prints the one line that says what is not tested. `go test` with
// several packages hides the output of those that pass, so it goes to the
// terminal itself where there is one.
func announce(why error) {
	what := "SKIPPING all tests on real Kafka (REQUIRE_KAFKA=1 makes this a failure)"
	if requireKafka() {
		what = "REQUIRE_KAFKA is set and there is no Kafka"
	}
	line := fmt.Sprintf("integration: %s: %s\n", what, strings.ReplaceAll(why.Error(), "\n", "; "))
	if tty, err := os.OpenFile("/dev/tty", os.O_WRONLY, 0); err == nil {
		defer func() { _ = tty.Close() }()
		if _, err := tty.WriteString(line); err == nil {
			return
		}
	}
	_, _ = os.Stderr.WriteString(line)
}

// withoutKafka skips t, or fails it where Kafka is required.
func withoutKafka(t *testing.T, why error) {
	t.Helper()
	if requireKafka() {
		t.Fatalf("REQUIRE_KAFKA is set and there is no Kafka: %v", why)
	}
	t.Skip("no Kafka: the first line of the output says why")
}
