package dlq

// ErrCrash has a job end as a crash would end it.
var ErrCrash = errCrash

// Steps are where a job can be ended.
var Steps = []string{string(stepOpened), string(stepClaimed), string(stepRead), string(stepBegun), string(stepPublished), string(stepCommitted), string(stepOver)}

// At has r call a function at each step of a job.
func At(r *Redriver, at func(name string) error) {
	r.at = func(s step) error { return at(string(s)) }
}
