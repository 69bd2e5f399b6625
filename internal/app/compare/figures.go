package compare

// Figures are what was measured of one scenario in one form. Times count from when a
// trip was due.
type Figures struct {
	// Units counts the trips. Each was Accepted (a call: answered with its booking; an
	// event: stored), or ended with one of the Errors, by code and whether it was
	// executed; Unreleased counts those whose callers were never free again.
	Units      int            `json:"units"`
	Accepted   int            `json:"accepted"`
	Errors     map[string]int `json:"errors"`
	Unreleased int            `json:"unreleased"`
	// Handled counts the trips whose work was done, Dead those that are dead letters,
	// Waiting those that were accepted and are neither.
	Handled int `json:"handled"`
	Dead    int `json:"dead"`
	Waiting int `json:"waiting"`
	// FailedRuns counts the runs that ended with an error, Recovered the trips whose
	// work was done after such a run, Repeated the runs that did work which was done,
	// InVain the calls that ran while their callers gave up, MaybeRan those that
	// their callers only know may have run and that did.
	FailedRuns int `json:"failed_runs"`
	Recovered  int `json:"recovered"`
	Repeated   int `json:"repeated"`
	InVain     int `json:"in_vain"`
	MaybeRan   int `json:"maybe_ran"`
	// Strays counts what came for no trip of the scenario.
	Strays int `json:"strays"`
	// Blocked is how long callers were not free, Failed that of those that got an
	// error, Done when the work was done, Recovery that after a failed run.
	Blocked  Latency `json:"blocked"`
	Failed   Latency `json:"failed"`
	Done     Latency `json:"done"`
	Recovery Latency `json:"recovery"`
	// BlockedSeconds is the sum over all callers.
	BlockedSeconds float64 `json:"blocked_seconds"`
	// MostCallers is how many callers were not free at once, MostHandlers how many
	// handlers ran, MostWaiting how many trips waited in Kafka while their callers were
	// free. DrainSeconds is how long handlers ran after the last trip was due.
	MostCallers  int     `json:"most_callers"`
	MostHandlers int     `json:"most_handlers"`
	MostWaiting  int     `json:"most_waiting"`
	DrainSeconds float64 `json:"drain_seconds"`
	// Records counts what was written to Kafka, WireBytes what went both ways between
	// Kafka and all clients of the form.
	Records        int            `json:"records"`
	RecordsByTopic map[string]int `json:"records_by_topic"`
	WireBytes      int64          `json:"wire_bytes"`
}

// Latency are milliseconds: what half of them took at most, 99 in 100, and all.
type Latency struct {
	P50  float64 `json:"p50_ms"`
	P99  float64 `json:"p99_ms"`
	Most float64 `json:"most_ms"`
}

// Outage is what was measured from when the plug was pulled until another server had
// all partitions. Its counts are of trips that were due in between.
type Outage struct {
	Seconds float64 `json:"seconds"`
	Units   int     `json:"units"`
	// Accepted trips were answered, or stored; Refused ended with an error that says
	// that they never ran, the first of them RefusedFrom seconds after the plug was
	// pulled; Unknown are the other errors.
	Accepted    int            `json:"accepted"`
	Refused     int            `json:"refused"`
	RefusedFrom float64        `json:"refused_from_seconds"`
	Unknown     int            `json:"unknown"`
	Errors      map[string]int `json:"errors"`
	// Handled trips were, in the end, the last of them LastAfterBack seconds after the
	// other server had all partitions.
	Handled       int     `json:"handled"`
	LastAfterBack float64 `json:"last_after_back_seconds"`
	// How long callers were not free, for each of the three.
	BlockedAccepted Latency `json:"blocked_accepted"`
	BlockedRefused  Latency `json:"blocked_refused"`
	BlockedUnknown  Latency `json:"blocked_unknown"`
}
