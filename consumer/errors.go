package consumer

import "github.com/duplex-go/duplex"

// The causes with which a handler's context is cancelled; context.Cause gives
// them, errors.Is tells them apart.
const (
	// ErrRevoked: the group gave the partition to another member, and the
	// handler did not end within RevokeGrace.
	ErrRevoked duplex.Code = "revoked"
	// ErrLost: this member was thrown out of the group, so that the partition
	// may already be another's.
	ErrLost duplex.Code = "lost"
	// ErrStopping: the consumer is stopping, and the handler did not end within
	// DrainTimeout.
	ErrStopping duplex.Code = "stopping"
	// ErrHandlerTimeout: the handler took longer than HandlerTimeout.
	ErrHandlerTimeout duplex.Code = "handler-timeout"
)
