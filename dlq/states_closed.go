package dlq

// closed is how many letters of the given offsets are closed.
func (*states) closed(int32, int64, int64) int64 { return 0 }
