package rpc

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// A handler's context is what the context package would have made, asked early or late.
func TestCallContext(t *testing.T) {
	t.Parallel()
	type key struct{}
	stopping := errors.New("the server is stopping")
	for _, early := range []bool{true, false} {
		for name, of := range map[string]struct {
			end   func(c *callContext, stop context.CancelCauseFunc)
			err   error
			cause error
		}{
			"deadline":  {func(*callContext, context.CancelCauseFunc) { time.Sleep(time.Second) }, context.DeadlineExceeded, DeadlineExceeded},
			"caller":    {func(c *callContext, _ context.CancelCauseFunc) { c.giveUp() }, context.Canceled, errCancelled},
			"server":    {func(_ *callContext, stop context.CancelCauseFunc) { stop(stopping) }, context.Canceled, stopping},
			"returned":  {func(c *callContext, _ context.CancelCauseFunc) { c.end() }, context.Canceled, context.Canceled},
			"gave, too": {func(c *callContext, _ context.CancelCauseFunc) { c.giveUp(); c.end() }, context.Canceled, errCancelled},
		} {
			t.Run(fmt.Sprint(name, " asked early: ", early), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					parent, stop := context.WithCancelCause(context.WithValue(t.Context(), key{}, "theirs"))
					defer stop(nil)
					c := &callContext{parent: parent, info: Info{Method: "s/M"}, deadline: time.Now().Add(time.Second)}
					defer c.end()
					if early {
						select {
						case <-c.Done():
							t.Fatal("it is done")
						default:
						}
					}
					require.NoError(t, c.Err())
					require.NoError(t, context.Cause(c))
					at, has := c.Deadline()
					require.True(t, has)
					require.Equal(t, c.deadline, at)
					child, cancel := context.WithCancel(NewContext(c, Info{Method: "s/N"}))
					defer cancel()
					if !early {
						child = c
					}
					of.end(c, stop)
					synctest.Wait()
					<-c.Done()
					<-child.Done()
					for _, ctx := range []context.Context{c, child} {
						require.Equal(t, of.err, ctx.Err())
						require.Equal(t, of.cause, context.Cause(ctx))
						require.Equal(t, "theirs", ctx.Value(key{}))
					}
					require.Equal(t, "s/M", FromContext(c).Method)
				})
			})
		}
	}
}

func TestWordsAreKeptAndBounded(t *testing.T) {
	t.Parallel()
	var w words
	first := w.of([]byte("a"))
	require.Equal(t, "a", first)
	require.Same(t, unsafe.StringData(first), unsafe.StringData(w.of([]byte("a"))))
	for i := range 10 * mostWords {
		s := fmt.Sprint(i)
		require.Equal(t, s, w.of([]byte(s)))
		require.LessOrEqual(t, len(w.kept), mostWords)
	}
}
