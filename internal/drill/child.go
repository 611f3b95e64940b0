package drill

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand"
)

// How long jobs take, and how long a worker of the drill waits for them when it drains: not for all.
const (
	quickTakes = 20 * time.Millisecond
	slowTakes  = 1500 * time.Millisecond
	heldTakes  = 400 * time.Millisecond
	drainWait  = 100 * time.Millisecond
)

// permitTTL is the shortest that a worker takes.
const permitTTL = 2 * time.Second

// A Worker is one of a drill, as its process is told in JSON.
type Worker struct {
	Name        string            `json:"name"`
	Queue       string            `json:"queue"`
	Types       map[string]string `json:"types"` // by kind
	Lease       time.Duration     `json:"lease"`
	Concurrency int               `json:"concurrency"`
}

// teller says what handlers see, a line each.
type teller struct {
	worker string

	mu   sync.Mutex
	to   *json.Encoder
	runs int
}

func (t *teller) tell(r Record) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	if r.What == started {
		t.runs++
		r.Run = t.runs
	}
	r.At, r.Worker = time.Now(), t.worker
	_ = t.to.Encode(r) // to nobody, if who conducts the drill is gone: then stdin ends, too
	return r.Run
}

// Work runs jobs of a drill until ctx ends, or until stdin does, since whoever started it is gone, and
// tells of them on stdout.
func (w *Worker) Work(ctx context.Context, nc *nats.Conn, cfg millhand.Config, stdin io.Reader, stdout io.Writer) error {
	tell := &teller{worker: w.Name, to: json.NewEncoder(stdout)}
	mux := millhand.NewMux()
	for kind, typ := range w.Types {
		mux.HandleFunc(typ, func(ctx context.Context, j *millhand.Job[millhand.Raw]) ([]byte, error) {
			return nil, tell.run(ctx, kind, j)
		})
	}
	worker, err := millhand.NewWorker(nc, millhand.WorkerConfig{ //nolint:contextcheck // it has a life of its own
		Config: cfg, Mux: mux, Name: w.Name,
		Queues: []millhand.Queue{{Name: w.Queue}}, Concurrency: w.Concurrency,
		AckWait: w.Lease, PermitTTL: permitTTL, DrainTimeout: drainWait, NoStats: true,
	})
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	var reading, beside sync.WaitGroup
	reading.Go(func() { // until the process ends: a read of a pipe is not to be interrupted
		_, _ = io.Copy(io.Discard, stdin) // nothing is said there
		stop()
	})
	defer beside.Wait()
	defer stop()
	beside.Go(func() {
		for worker.Ready(ctx) != nil {
			select {
			case <-ctx.Done():
				return
			case <-time.NewTimer(quickTakes).C:
			}
		}
		tell.tell(Record{What: ready})
	})
	if err := worker.Run(ctx); err != nil && !errors.Is(err, millhand.ErrDrainTimeout) {
		return err
	}
	return nil
}

var errMeant = errors.New("this job fails, as it should")

func (t *teller) run(ctx context.Context, kind string, j *millhand.Job[millhand.Raw]) (err error) {
	r := Record{What: started, Type: j.Ref.Type, ID: j.ID, Attempt: j.Attempt, Crashes: j.Crashes}
	r.Run = t.tell(r)
	r.What, r.Outcome = ended, done
	takes := quickTakes
	switch kind {
	case slow:
		takes = slowTakes
	case held:
		takes = heldTakes
	}
	timer := time.NewTimer(takes)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		err = context.Cause(ctx)
		r.Outcome = cut
		if errors.Is(err, millhand.ErrLeaseLost) || errors.Is(err, millhand.ErrPermitLost) {
			r.Outcome = leaseLost
		}
	}
	if err == nil && (kind == failing || kind == shaky && j.Attempt == 1) {
		r.Outcome, err = failed, millhand.RetryAfter(quickTakes, errMeant)
	}
	t.tell(r)
	return err
}
