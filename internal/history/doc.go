// Package history records what the members of a consumer group did, and checks
// it against the promises of docs/guarantees.md.
//
// Each process has a Recorder of its own, on a file that outlives a kill -9. A
// History merges them by the wall clock, so the processes must share one machine;
// Check then goes through the events once and reports what was not to be, in
// words that name the key, the offset, the members and the times.
//
//	recorder, err := history.Create(path)
//	run := history.Of(r, member, attempt)
//	err = recorder.Record(run.Started())
//	…
//	err = recorder.Record(run.Finished())
//
//	h, err := history.Read(paths...)
//	report := h.Check(history.Allow{})
//	err = report.Err()
package history
