package consumer

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

// A slice that was polled before a partition was lost and assigned again must be
// handed over, to nobody, before the new assignment is opened.
func TestHandoffWaitsForWhatWasPolled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHandoff()
		poll := h.enter(t.Context())
		opened := false
		go h.settled(func() { opened = true })
		synctest.Wait()
		require.Error(t, poll.Err(), "a parked poll is woken")
		require.False(t, opened, "opened while a slice was on its way")
		h.leave()
		synctest.Wait()
		require.True(t, opened)
	})
}

func TestHandoffHoldsPollsBackWhileAssignmentsChange(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHandoff()
		changed := make(chan struct{})
		polling := false
		go h.settled(func() { <-changed })
		synctest.Wait()
		go func() {
			h.enter(t.Context())
			polling = true
		}()
		synctest.Wait()
		require.False(t, polling, "polled while assignments changed")
		close(changed)
		synctest.Wait()
		require.True(t, polling)
		h.leave()
	})
}
