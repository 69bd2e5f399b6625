package shell

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"time"
)

// streams are the pipes of a command. They are not those of os/exec, whose Wait
// waits for all that still holds them.
type streams struct {
	theirs              []*os.File // until the command has them
	stdin, out, problem *os.File
	read                [2]*rest // what reads out and problem
	outErr              error    // why standard output was not read to its end
}

func openStreams(cmd *exec.Cmd) (*streams, error) {
	s := &streams{}
	in, stdin, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	s.theirs, s.stdin = append(s.theirs, in), stdin
	out, stdout, err := os.Pipe()
	if err != nil {
		s.close()
		return nil, err
	}
	s.theirs, s.out = append(s.theirs, stdout), out
	problem, stderr, err := os.Pipe()
	if err != nil {
		s.close()
		return nil, err
	}
	s.theirs, s.problem = append(s.theirs, stderr), problem
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, stdout, stderr
	return s, nil
}

// copy feeds the command and passes on what it writes, until both its outputs are
// at their ends. A command whose output nobody takes is stopped.
func (s *streams) copy(value []byte, out, problem io.Writer, stop func()) <-chan struct{} {
	s.release()
	var copying sync.WaitGroup
	s.read = [...]*rest{{from: s.out}, {from: s.problem}}
	copying.Go(func() {
		if _, err := io.Copy(out, s.read[0]); err != nil {
			s.outErr = err
			stop()
		}
	})
	copying.Go(func() { _, _ = io.Copy(problem, s.read[1]) })
	var feeding sync.WaitGroup
	feeding.Go(func() {
		_, _ = s.stdin.Write(value) // a command need not read what it was given
		_ = s.stdin.Close()
	})
	copied := make(chan struct{})
	go func() {
		copying.Wait()
		_ = s.stdin.Close() // it has ended, whoever still holds its input
		feeding.Wait()
		close(copied)
	}()
	return copied
}

// hurry ends a copy that waits for what escaped from the command's group.
func (s *streams) hurry() {
	for _, r := range s.read {
		r.hurry()
	}
}

// release closes the command's ends, of which it has copies.
func (s *streams) release() {
	for _, f := range s.theirs {
		_ = f.Close()
	}
	s.theirs = nil
}

func (s *streams) close() {
	s.release()
	for _, f := range []*os.File{s.stdin, s.out, s.problem} {
		if f != nil {
			_ = f.Close()
		}
	}
}

const (
	// restWait is how long a pipe may be empty that somebody escaped with, and
	// maxRest what is still read of it.
	restWait = 50 * time.Millisecond
	maxRest  = 1 << 20
)

// rest reads a pipe to its end, and after hurry what is left in it: nobody who is
// ours can write to it then.
type rest struct {
	from    *os.File
	hurried atomic.Bool
	taken   int
}

// Read implements io.Reader.
func (r *rest) Read(b []byte) (int, error) {
	for {
		hurried := r.hurried.Load()
		if hurried {
			if r.taken >= maxRest {
				return 0, io.EOF
			}
			_ = r.from.SetReadDeadline(time.Now().Add(restWait))
		}
		n, err := r.from.Read(b)
		if hurried {
			r.taken += n
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, os.ErrClosed) {
			return n, err
		}
		if hurried || n > 0 {
			return n, io.EOF
		}
	}
}

func (r *rest) hurry() {
	r.hurried.Store(true)
	if r.from.SetReadDeadline(time.Now()) != nil {
		_ = r.from.Close() // a system whose pipes have no deadlines
	}
}
