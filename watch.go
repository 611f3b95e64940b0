package millhand

import (
	"context"
	"iter"
	"time"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/queue"
)

// How soon a watched job is looked at again: after a sign, after a change, and at most. Each pause
// without a change is twice the one before. Workers are asked as often as that at first, and seldom
// later, since all of them have to answer.
const (
	watchAfterSign   = 2 * time.Millisecond
	watchAfterChange = 100 * time.Millisecond
	watchMost        = 2 * time.Second
	askMost          = 10 * time.Second
)

// Watch yields a job as it is, then each time that it or its progress changes, until it has ended:
// the state of the last [Info] is final. A job that a worker says it runs is [Running]. Short states
// may be missed.
//
// The error is the last thing that Watch yields: [ErrNotFound], [ErrNoRecord] and [ErrInvalid] as of
// [Client.Await], or the cause of ctx's end. A broker that is away is waited for. Watch asks the
// broker and all workers now and then: it is for a few jobs that somebody looks at, and Await for
// many.
func (c *Client) Watch(ctx context.Context, ref Ref) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		ref, place, err := ref.checked()
		if err != nil {
			yield(Info{}, err)
			return
		}
		trail, err := c.store.Trail(place)
		if err != nil {
			yield(Info{}, publicError(err))
			return
		}
		defer trail.Close()
		w := &watch{client: c, ref: ref, place: place, pause: watchAfterChange, askPause: watchAfterChange}
		if err := w.run(ctx, trail, func(i Info) bool { return yield(i, nil) }); err != nil {
			yield(Info{}, err)
		}
	}
}

// A watch is what one caller of Watch has been shown.
type watch struct {
	client *Client
	ref    Ref // with its life, once that is known
	place  job.Place

	shown    Info
	pause    time.Duration // until the next look
	runs     RunningJob    // as a worker said; zero: nobody runs it
	missed   bool          // nobody said so the last time
	ask      time.Time     // when workers are asked next
	askPause time.Duration // before that
}

func (w *watch) run(ctx context.Context, trail *queue.Trail, show func(Info) bool) error {
	for {
		info, err := w.look(ctx)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case queue.Hopeless(err):
			return w.ref.unknown(err)
		case err == nil && !w.show(info, show):
			return nil
		}
		for due := time.Now().Add(w.pause); ; { // until it is time for a look
			sign := trail.Next(ctx, time.Until(due))
			if sign.Progress == nil {
				w.signed(sign)
				break
			}
			if !w.progressed(sign.Progress, show) {
				return nil
			}
		}
	}
}

// look reads the job, and asks workers for it if it is time.
func (w *watch) look(ctx context.Context) (Info, error) {
	info, err := w.client.read(ctx, w.ref, w.place)
	if err != nil {
		return Info{}, err
	}
	w.ref = info.Ref
	if info.State != Ready {
		w.runs = RunningJob{}
		return info, nil
	}
	if now := time.Now(); !now.Before(w.ask) {
		runs, found, err := w.client.registry.Owner(ctx, w.ref.Queue, w.ref.Type, w.ref.ID)
		if err == nil {
			w.heard(runningOf(runs), found)
		}
		w.ask, w.askPause = now.Add(w.askPause), min(2*w.askPause, askMost)
	}
	return w.running(info), nil
}

// heard notes what workers say: the job runs as r if found. A run has ended only if nobody knows it
// twice: the queue shows the end a little later.
func (w *watch) heard(r RunningJob, found bool) {
	found = found && (r.Life == "" || r.Life == w.ref.Life)
	missed := w.missed
	w.missed = !found
	switch {
	case !found && !missed:
		w.askPause = watchAfterChange
	case !found:
		w.runs = RunningJob{}
	case r.Progress.Time.Before(w.runs.Progress.Time): // the answer was overtaken
		r.Progress = w.runs.Progress
		w.runs = r
	default:
		w.runs = r
	}
}

// running adds to a job that is ready what workers say of it.
func (w *watch) running(info Info) Info {
	if w.runs.ID != "" {
		info.State, info.Worker, info.StartedAt, info.Progress = Running, w.runs.Worker, w.runs.Since, w.runs.Progress
	}
	return info
}

// show passes on what is new, and reports whether to go on.
func (w *watch) show(info Info, show func(Info) bool) bool {
	if w.shown.looksLike(&info) {
		w.pause = min(2*w.pause, watchMost)
		return true
	}
	if w.shown.State != info.State {
		w.askSoon()
	}
	w.shown, w.pause = info, watchAfterChange
	return show(info) && !info.State.Final()
}

// signed has the next look come soon if there was a sign.
func (w *watch) signed(sign queue.Sign) {
	if sign.Event {
		w.pause = watchAfterSign
		w.askSoon()
	}
}

func (w *watch) askSoon() { w.ask, w.askPause = time.Time{}, watchAfterChange }

// progressed passes on a progress, which says as well that the job runs.
func (w *watch) progressed(said *queue.JobProgress, show func(Info) bool) bool {
	running := w.shown.State == Ready || w.shown.State == Running
	if said.Life != w.ref.Life || !running || said.Time.Before(w.runs.Progress.Time) {
		return true
	}
	if w.runs.Worker == "" {
		w.askSoon()
	}
	w.runs.Ref, w.runs.Progress = w.ref, Progress(said.Progress)
	w.shown = w.running(w.shown)
	return show(w.shown)
}

// looksLike reports whether a watcher sees no difference between two looks at a job.
func (i *Info) looksLike(o *Info) bool {
	return i.State == o.State && i.Life == o.Life && i.Attempt == o.Attempt && i.Crashes == o.Crashes && i.Worker == o.Worker &&
		i.RunAt.Equal(o.RunAt) && len(i.Failures) == len(o.Failures) && i.Progress == o.Progress
}
