package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/cli"
)

// unservedAfter is when it is told that nobody serves the type of a job, if so.
const unservedAfter = 2 * time.Second

// A waitScreen shows on standard error how the job is doing that --wait waits for: a bar on a
// terminal if its handler reports progress, else a line now and then. It is for show: nothing of it
// fails the command.
type waitScreen struct {
	out    io.Writer
	client *millhand.Client
	ref    millhand.Ref
	start  time.Time
	why    string // the command that says what the job waits for
	redraw bool   // the terminal can be drawn over

	mu   sync.Mutex
	info millhand.Info // zero: nothing is known yet
	bar  *progressbar.ProgressBar
}

// showWait tells that the job is enqueued, and shows how it is doing until stop is called.
func (c *command) showWait(ctx context.Context, client *millhand.Client, ref millhand.Ref) (stop func()) {
	c.say("enqueue: job %s is enqueued", ref.ID)
	s := &waitScreen{out: c.err, client: client, ref: ref, start: time.Now(), why: c.operator("why", ref), redraw: cli.CanRedraw(c.err)}
	ctx, cancel := context.WithCancel(ctx)
	var drawing sync.WaitGroup
	drawing.Go(func() { s.watch(ctx) })
	drawing.Go(func() { s.tell(ctx) })
	return func() {
		cancel()
		drawing.Wait()
		s.clear()
	}
}

// watch follows the job.
func (s *waitScreen) watch(ctx context.Context) {
	for info, err := range s.client.Watch(ctx, s.ref) {
		if err != nil {
			return // whoever waits for the end learns why
		}
		s.mu.Lock()
		s.info = info
		s.draw()
		s.mu.Unlock()
	}
}

// tell writes a line now and then, unless there is a bar.
func (s *waitScreen) tell(ctx context.Context) {
	unserved := time.NewTimer(unservedAfter)
	defer unserved.Stop()
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-unserved.C:
			if !s.tellUnserved(ctx) {
				unserved.Reset(unservedAfter)
			}
		case <-tick.C:
			s.say(s.line(time.Now()))
		}
	}
}

// tellUnserved tells if no worker serves the type of a job that could run. It reports false while
// that cannot be said.
func (s *waitScreen) tellUnserved(ctx context.Context) bool {
	s.mu.Lock()
	state := s.info.State
	s.mu.Unlock()
	if state == "" || state == millhand.Scheduled {
		return false
	}
	if state != millhand.Ready {
		return true
	}
	workers, err := s.client.Workers(ctx)
	if err != nil || slices.ContainsFunc(workers, func(w millhand.WorkerInfo) bool {
		return slices.Contains(w.Types, s.ref.Type) && slices.Contains(w.Queues, s.ref.Queue)
	}) {
		return true
	}
	s.say(fmt.Sprintf("no worker serves type %s in queue %s: the job waits until one does; '%s' says who comes near", s.ref.Type, s.ref.Queue, s.why))
	return true
}

// say writes a line. A bar says more.
func (s *waitScreen) say(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bar == nil && line != "" {
		_, _ = fmt.Fprintf(s.out, "enqueue: %s\n", line) // for show
	}
}

// line says how the job is doing, empty if that is not known.
func (s *waitScreen) line(now time.Time) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	waited := now.Sub(s.start).Round(time.Second)
	switch i := &s.info; i.State {
	case millhand.Scheduled:
		return fmt.Sprintf("%v: the job waits for its time, %s", waited, i.RunAt.Local().Format(time.RFC3339))
	case millhand.Retrying:
		return fmt.Sprintf("%v: the job failed, and is tried again at %s: %s", waited, i.RunAt.Local().Format(time.RFC3339), cli.OneLine(i.LastError()))
	case millhand.Ready:
		return fmt.Sprintf("%v: the job waits for a worker", waited)
	case millhand.Running:
		return fmt.Sprintf("%v: the job runs%s%s", waited, onWorker(i.Worker), howFar(&i.Progress))
	case "", millhand.Succeeded, millhand.Dead, millhand.Cancelled: // what became of it is printed
	}
	return ""
}

func onWorker(id string) string {
	if id == "" {
		return ""
	}
	return " on " + id
}

// howFar is a progress as text, empty if there is none.
func howFar(p *millhand.Progress) string {
	if p.Time.IsZero() {
		return ""
	}
	text := fmt.Sprintf(", %d", p.Done)
	if p.Total > 0 {
		text += fmt.Sprintf(" of %d (%.0f %%)", p.Total, 100*float64(p.Done)/float64(p.Total))
	}
	if p.Note != "" {
		text += ", " + cli.OneLine(p.Note)
	}
	return text
}

// draw shows the progress of a job that runs as a bar, on a terminal. It needs the mutex.
func (s *waitScreen) draw() {
	p := &s.info.Progress
	if !s.redraw {
		return
	}
	if s.info.State != millhand.Running || p.Time.IsZero() { // it may have to begin anew
		s.hide()
		return
	}
	if s.bar != nil && s.bar.IsFinished() { // it would not be drawn any more
		s.hide()
	}
	if s.bar == nil {
		// Progress comes five times a second at most: each is drawn, and nothing between them.
		s.bar = progressbar.NewOptions64(limitOf(p), progressbar.OptionSetWriter(s.out), progressbar.OptionShowCount(),
			progressbar.OptionThrottle(0), progressbar.OptionSetSpinnerChangeInterval(0), progressbar.OptionFullWidth(),
			progressbar.OptionUseANSICodes(true))
	}
	s.bar.Describe(shorten(cli.OneLine(p.Note)))
	if limit := limitOf(p); s.bar.GetMax64() != limit {
		s.bar.ChangeMax64(limit)
	}
	_ = s.bar.Set64(max(p.Done, 0)) // drawing is for show
}

// limitOf is the end of a bar, which must not be below what is done; -1 if it is not known.
func limitOf(p *millhand.Progress) int64 {
	if p.Total <= 0 {
		return -1
	}
	return max(p.Total, p.Done)
}

// noteWidth is how many characters of a note stand beside a bar.
const noteWidth = 30

func shorten(note string) string {
	runes := []rune(note)
	if len(runes) <= noteWidth {
		return note
	}
	return string(runes[:noteWidth-1]) + "…"
}

// hide removes the bar. It needs the mutex.
func (s *waitScreen) hide() {
	if s.bar != nil {
		_ = s.bar.Clear() // drawing is for show
		s.bar = nil
	}
}

// clear leaves no bar behind.
func (s *waitScreen) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hide()
}
