package queue

import (
	"encoding/json"
	"sync"
	"time"

	"github.com/millhand/millhand/internal/job"
)

// progressEvery is how often at most the progress of a run is passed on.
const progressEvery = 200 * time.Millisecond

// A JobProgress is the message that tells of a run's progress.
type JobProgress struct {
	ID    string `json:"id"`
	Queue string `json:"queue"`
	Type  string `json:"type"`
	Life  string `json:"life"`
	job.Progress
}

// A progress is what a handler has said of how far it is. What it says goes out from a goroutine of
// the timer, since a connection may block, and a handler must not.
type progress struct {
	held *Delivery

	mu       sync.Mutex
	last     job.Progress
	news     bool // last has not been sent
	complete bool // it was done once, which was told at once
	resting  bool // it goes out when the timer fires: it has just been sent, or is about to be
	sending  bool
	hurry    bool // it is to go out at once, after what is being sent
	ended    bool
	timer    *time.Timer
}

// Progress notes how far the run is, and has watchers told: the first time at once, when it is done
// for the first time as well, else at most five times a second. It never blocks. Once the job is out
// of hand nothing is noted any more. It may be called from any goroutine.
func (h *Delivery) Progress(done, total int64, note string) {
	p := h.progress.Load()
	if p == nil {
		if h.store == nil { // a test's
			return
		}
		p = &progress{held: h}
		if !h.progress.CompareAndSwap(nil, p) {
			p = h.progress.Load()
		}
	}
	p.set(done, total, note)
}

// LastProgress returns what the handler said last; false if it said nothing.
func (h *Delivery) LastProgress() (job.Progress, bool) {
	p := h.progress.Load()
	if p == nil {
		return job.Progress{}, false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	last := p.last
	last.Note = job.CutNote(last.Note)
	return last, !last.Time.IsZero()
}

func (p *progress) set(done, total int64, note string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return
	}
	p.last.Done, p.last.Total, p.last.Note, p.news = done, total, note, true
	switch {
	case p.timer == nil:
		p.resting = true
		p.last.Time = time.Now().UTC()
		p.timer = time.AfterFunc(0, p.send)
	case !p.resting:
		p.resting = true
		p.timer.Reset(0)
	}
	if done == total && !p.complete {
		p.complete = true
		p.sendNow()
	}
}

// sendNow has it go out at once. It needs the mutex.
func (p *progress) sendNow() {
	switch {
	case p.sending:
		p.hurry = true
	case p.timer.Stop(): // else it has fired, and is about to
		p.timer.Reset(0)
	}
}

// end passes on what was said last, if the job was still in hand then.
func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	if p.news {
		p.sendNow()
	}
}

// send passes on what is new, if the job is still in hand.
func (p *progress) send() {
	p.mu.Lock()
	if p.news && p.held.Alive() != nil {
		p.news, p.ended = false, true
	}
	if !p.news {
		p.resting = false
		p.mu.Unlock()
		return
	}
	p.last.Time = time.Now().UTC()
	said := p.last
	p.news, p.sending = false, true
	p.mu.Unlock()

	p.held.tell(said)

	p.mu.Lock()
	defer p.mu.Unlock()
	pause := progressEvery
	if p.hurry {
		pause = 0
	}
	p.sending, p.hurry = false, false
	if p.news || !p.ended {
		p.timer.Reset(pause)
	} else {
		p.resting = false
	}
}

// tell publishes a progress. Nothing depends on it: it may be lost.
func (h *Delivery) tell(said job.Progress) {
	said.Note = job.CutNote(said.Note)
	body, err := json.Marshal(JobProgress{ID: h.ID, Queue: h.Queue, Type: h.Type, Life: h.Life, Progress: said})
	if err == nil {
		_ = h.store.nc.Publish(h.store.names.progress(h.place), body)
	}
}
