package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// The Spring program is that of integration/: what callers and a listener are with Spring
// for Apache Kafka, both in one JVM, which measures by itself.

// springWarm is how many calls, at least, a JVM makes before those that are measured.
const springWarm = 20_000

// runSpring has the program make the calls.
func runSpring(ctx context.Context, s spec) (r result, err error) {
	ctx, cancel := context.WithTimeout(ctx, failLimit)
	defer cancel()
	target := filepath.Join(s.Spring, "target")
	args := []string{
		"-Xmx512m", "-cp", filepath.Join(target, "classes") + string(filepath.ListSeparator) + filepath.Join(target, "dependency", "*"), "duplex.spring.Echo",
		strings.Join(s.Brokers, ","), s.requestTopic(), s.replyTopic(), s.servers(),
	}
	for _, n := range []int{s.Workload.Bytes, s.Workload.Callers, s.warm(), s.Workload.Records} {
		args = append(args, strconv.Itoa(n))
	}
	cmd := exec.CommandContext(ctx, "java", args...) //nolint:gosec // what is in args is ours
	var said bytes.Buffer
	cmd.Stdin, cmd.Stderr = bytes.NewReader(newSource("", s.Workload).block), &said
	out, err := cmd.Output()
	if err != nil {
		return r, fmt.Errorf("running the Spring program: %w\n%s", err, lastLines(said.String(), 20))
	}
	if err := json.Unmarshal(out, &r); err != nil {
		return r, fmt.Errorf("reading what the Spring program measured: %w", err)
	}
	return r, nil
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// buildSpring builds the program in the given folder, once in a run. The error says what
// is missing.
func buildSpring(ctx context.Context, folder string) error {
	for _, needed := range []string{"java", "mvn"} {
		if _, err := exec.LookPath(needed); err != nil {
			return fmt.Errorf("calls beside Spring need java and mvn: %w", err)
		}
	}
	if _, err := os.Stat(filepath.Join(folder, "pom.xml")); err != nil {
		return fmt.Errorf("calls beside Spring need the program in integration/spring, see -spring: %w", err)
	}
	build := exec.CommandContext(ctx, "mvn", "-B", "-q", "compile", "dependency:copy-dependencies")
	build.Dir = folder
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("building the Spring program: %w\n%s", err, lastLines(string(out), 20))
	}
	return nil
}
