package millhand

import "time"

// Progress is how far the run of a job is, as its handler reports it with [Job.Progress]. Zero means
// that it has reported nothing.
type Progress struct {
	Done  int64     `json:"done"`
	Total int64     `json:"total"`          // 0: not known
	Note  string    `json:"note,omitempty"` // at most 200 bytes
	Time  time.Time `json:"time"`           // UTC, by the worker's clock
}

// Progress tells watchers how far the run is, such as done of total items. A total of 0 is unknown,
// and a note is cut to 200 bytes. It may be called as often as one likes, from any goroutine: it takes
// some 20 ns and never blocks. The last value counts, and goes out at most five times a second; the
// first one goes out at once, and the first that is complete, too.
//
// [Client.Watch], [Client.Running] and enqueue --wait show it. It is not stored: a job that runs
// again has none until its handler reports some.
func (j *Job[T]) Progress(done, total int64, note string) {
	if j.held != nil {
		j.held.Progress(done, total, note)
	}
}
