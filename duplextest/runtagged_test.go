package duplextest_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// goTest runs "go test" on a package below testdata, as somebody does whose tests
// use this package.
func goTest(t *testing.T, folder, run string, environment ...string) (output string, passed bool) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", folder, "*.go"))
	require.NoError(t, err)
	for _, f := range files { // so that "go test" forgets the result when they change
		_, err := os.ReadFile(f)
		require.NoError(t, err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "test", "-count=1", "-run", run, "./testdata/"+folder)
	cmd.Env = append(os.Environ(), environment...)
	out, err := cmd.CombinedOutput()
	return string(out), err == nil
}

func TestRunTaggedGoesOnAfterTheRaceDetectorDied(t *testing.T) {
	t.Parallel()
	before := filepath.Join(t.TempDir(), "died before")
	output, passed := goTest(t, "died", ".", "DIED_BEFORE="+before)
	require.True(t, passed, output)
	require.FileExists(t, before)
}

func TestRunTagged(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		folder, run   string
		says, saysNot []string
	}{
		"reports each test": {
			"tagged", "TestInVirtualTime",
			[]string{"--- FAIL: TestInVirtualTime/TestVirtualFails", "the reason why it fails"},
			[]string{"FAIL: TestInVirtualTime/TestVirtualPasses", "FAIL: TestInVirtualTime/TestVirtualSkips", "did not run", "it ran"},
		},
		"wants something to run":        {"none", ".", []string{"no test of this package has a name that begins with TestVirtual and a file with //go:build synctests"}, nil},
		"shows what does not compile":   {"broken", ".", []string{"undefined: thisIsNotDefined"}, nil},
		"notices that the process died": {"crash", ".", []string{"running the tests with the tag", "exit status 1", "its last words", "FAIL\tgithub.com/duplex-go/duplex/duplextest/testdata/crash"}, []string{"running again"}},
		"runs again after the race detector died, once": {
			"died", ".", []string{"running again what had not ended, [TestVirtualDies]", "running the tests with the tag", "SIGSEGV: segmentation violation"}, nil,
		},
		"is what VirtualTime asks for": {
			"tagged", "TestWithoutTheTag",
			[]string{"--- FAIL: TestWithoutTheTag", "go test -tags synctests", "//go:build synctests", "duplextest.RunTagged"}, nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			output, passed := goTest(t, test.folder, test.run)
			require.False(t, passed, output)
			for _, says := range test.says {
				require.Contains(t, output, says)
			}
			for _, not := range test.saysNot {
				require.NotContains(t, output, not)
			}
		})
	}
}
