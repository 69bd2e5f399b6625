package duplex

import "time"

// StatusCode is what a component says of itself; the same strings appear in
// logs, metrics, health endpoints and commands.
type StatusCode string

// The status codes, in rising order of weight.
const (
	// StatusOK: all is well.
	StatusOK StatusCode = "ok"
	// StatusPausedByOperator: Pause was called, and Resume was not.
	StatusPausedByOperator StatusCode = "paused-by-operator"
	// StatusRetrying: at least one record failed and waits for its next
	// attempt; everything else flows.
	StatusRetrying StatusCode = "retrying"
	// StatusTopicRecreated: a topic was deleted and created again under its name;
	// it is read anew from its beginning.
	StatusTopicRecreated StatusCode = "topic-recreated"
	// StatusDataLost: the broker deleted records before they were read.
	StatusDataLost StatusCode = "data-lost"
	// StatusRetryDataLost: a retry topic or a dead-letter queue was deleted, or the
	// broker deleted records of it that were still to be tried again.
	StatusRetryDataLost StatusCode = "retry-data-lost"
	// StatusDLQUnavailable: what the policy for failures publishes, to a retry
	// topic or the dead-letter queue, is not acknowledged; the records that it is
	// for wait.
	StatusDLQUnavailable StatusCode = "dlq-unavailable"
	// StatusDeadLetterFlood: most records would become dead letters; they wait
	// instead, see dlq.Policy's MaxDeadRatio.
	StatusDeadLetterFlood StatusCode = "dead-letter-flood"
	// StatusStalled: a partition has records to handle, and none was finished for
	// StallAfter.
	StatusStalled StatusCode = "stalled"
	// StatusHeadOfLineBlocked: a partition is paused because one unfinished
	// record holds up as many records as may be loaded.
	StatusHeadOfLineBlocked StatusCode = "head-of-line-blocked"
	// StatusHandlerStuck: a handler was told to stop and did not return.
	StatusHandlerStuck StatusCode = "handler-stuck"
	// StatusJoining: not yet a member of the group.
	StatusJoining StatusCode = "joining"
	// StatusStopping: draining, or stopped.
	StatusStopping StatusCode = "stopping"
	// StatusDisconnected: the cluster does not answer, or refuses the requests
	// that keep the group together.
	StatusDisconnected StatusCode = "disconnected"
	// StatusUnauthorized: the cluster refuses us.
	StatusUnauthorized StatusCode = "unauthorized"
	// StatusFenced: another member with the same identity took over.
	StatusFenced StatusCode = "fenced"
	// StatusClosed: the component was closed.
	StatusClosed StatusCode = "closed"
)

// Healthy reports whether a component with this code does its work.
func (c StatusCode) Healthy() bool {
	switch c {
	case StatusOK, StatusRetrying, StatusDataLost, StatusRetryDataLost, StatusTopicRecreated, StatusPausedByOperator:
		return true
	default:
		return false
	}
}

// Status is a snapshot of one component.
type Status struct {
	// Component is "producer", "consumer", …; Name tells several apart, such as
	// the consumer's group.
	Component string `json:"component"`
	Name      string `json:"name,omitempty"`
	// Code is the weightiest of the problems' codes, StatusOK without any.
	Code StatusCode `json:"code"`
	// Problems say what is not as it should be.
	Problems []Problem `json:"problems,omitempty"`
	// Counts are totals since the component was made; each component documents
	// its names.
	Counts map[string]int64 `json:"counts,omitempty"`
	// Partitions are the partitions that a consumer owns, in order.
	Partitions []PartitionStatus `json:"partitions,omitempty"`
}

// Problem is one thing that is not as it should be.
type Problem struct {
	Code StatusCode `json:"code"`
	// Subject is what it is about, such as "orders/3" for a partition; empty for
	// the component itself.
	Subject string `json:"subject,omitempty"`
	Detail  string `json:"detail"`
}

// PartitionStatus is a snapshot of one partition that a consumer owns.
type PartitionStatus struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	// Source is the topic whose handler has its records: Topic itself, unless that
	// is a retry or redrive topic.
	Source string `json:"source,omitempty"`
	// NextDue is, in a retry topic, when the first of its records is due that has
	// not started; zero where none is loaded.
	NextDue time.Time `json:"nextDue,omitzero"`
	// Committed is the offset last acknowledged by the broker, −1 before the
	// first commit.
	Committed int64 `json:"committed"`
	// Watermark is the offset below which every record is finished.
	Watermark int64 `json:"watermark"`
	// Frontier is the offset below which every record was read.
	Frontier int64 `json:"frontier"`
	// End is the end of the partition as of the last fetch, −1 while unknown.
	End int64 `json:"end"`
	// Lag counts the offsets from Watermark to End, 0 while End is unknown.
	Lag int64 `json:"lag"`
	// Loaded counts the records in memory that are not finished.
	Loaded int `json:"loaded"`
	// Running counts the handlers at work; OldestRunning is for how long the
	// oldest of them has been, to about a millisecond.
	Running       int           `json:"running"`
	OldestRunning time.Duration `json:"oldestRunningNs"`
	// Lanes counts the keys that have a record at work or waiting, those aside
	// whose handlers return at once; Waiting those of them whose record failed
	// and waits for its next attempt.
	Lanes   int `json:"lanes"`
	Waiting int `json:"waiting"`
	// Paused is set while fetching waits for Loaded to shrink.
	Paused bool `json:"paused,omitempty"`
	// Attempt, RetryAt and LastError describe the first failed record that waits
	// for its next attempt, if any.
	Attempt   int       `json:"attempt,omitempty"`
	RetryAt   time.Time `json:"retryAt,omitzero"`
	LastError string    `json:"lastError,omitempty"`
}

// SetProblems stores the problems and the code that follows from them.
func (s *Status) SetProblems(problems ...Problem) {
	s.Problems, s.Code = problems, StatusOK
	for _, p := range problems {
		if p.Code.weight() > s.Code.weight() {
			s.Code = p.Code
		}
	}
}

func (c StatusCode) weight() int {
	for i, known := range [...]StatusCode{
		StatusOK, StatusPausedByOperator, StatusRetrying, StatusTopicRecreated, StatusDataLost, StatusRetryDataLost, StatusDLQUnavailable, StatusDeadLetterFlood, StatusStalled,
		StatusHeadOfLineBlocked, StatusHandlerStuck, StatusJoining, StatusStopping, StatusDisconnected, StatusUnauthorized, StatusFenced,
		StatusClosed,
	} {
		if c == known {
			return i
		}
	}
	return -1
}
