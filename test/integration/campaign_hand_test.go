package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/workflow"
)

// campaignLease is short, since all that somebody had who was killed waits for its end.
const campaignLease = 2 * time.Second

// A stage is where the jobs of a campaign run: it notes each run, and does what a [chore] says.
type stage struct {
	url string

	mu     sync.Mutex
	count  int                    // of runs
	begun  map[string][]time.Time // by the job's id
	healed map[string]bool        // plans of which all steps succeed from now on
}

func newStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{begun: make(map[string][]time.Time), healed: make(map[string]bool)}
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	s.url = srv.URL
	return s
}

func (s *stage) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	payload, err := io.ReadAll(r.Body)
	var c chore
	if err != nil || json.Unmarshal(payload, &c) != nil {
		return // its worker died early
	}
	id := r.Header.Get("Millhand-Id")
	s.mu.Lock()
	s.begun[id] = append(s.begun[id], began)
	s.count++
	healed := s.healed[c.Plan]
	s.mu.Unlock()
	if c.For > 0 {
		pause(time.Duration(c.For) * time.Millisecond)
	}
	switch {
	case healed:
	case c.Does == fails:
		w.WriteHeader(http.StatusBadRequest)
	case c.Does == stumbles && r.Header.Get("Millhand-Attempt") == "1":
		w.WriteHeader(http.StatusInternalServerError)
	}
	_, _ = io.WriteString(w, id) // its worker may be dead
}

func (s *stage) heal(plan string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.healed[plan] = true
}

// runs returns when each job began.
func (s *stage) runs() map[string][]time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	begun := make(map[string][]time.Time, len(s.begun))
	for id, times := range s.begun {
		begun[id] = append([]time.Time(nil), times...)
	}
	return begun
}

func (s *stage) runCount() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count
}

// growerEnv makes the test binary a worker whose jobs add steps; it holds the [growerArgs].
const growerEnv = "MILLHAND_TEST_GROWER"

type growerArgs struct{ URL, Stage string }

// serveGrower is the process. What the job does otherwise it asks the stage.
func serveGrower(text string) {
	var args growerArgs
	if err := json.Unmarshal([]byte(text), &args); err != nil {
		panic(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	nc, err := dial(args.URL, millhand.ConnectOptions(log)...)
	if err != nil {
		panic(err)
	}
	defer nc.Close()
	mux := millhand.NewMux()
	mux.HandleFunc("grow", func(ctx context.Context, j *millhand.Job[millhand.Raw]) ([]byte, error) {
		return grow(ctx, j, args.Stage)
	},
		millhand.TypeConfig{Backoff: millhand.Backoff{Initial: 100 * time.Millisecond}})
	w, err := millhand.NewWorker(nc, millhand.WorkerConfig{Mux: mux, AckWait: campaignLease, DrainTimeout: time.Second, Config: millhand.Config{Logger: log}})
	if err == nil {
		err = w.Run(ctx)
	}
	if err != nil {
		panic(err)
	}
}

func grow(ctx context.Context, j *millhand.Job[millhand.Raw], stage string) ([]byte, error) {
	var c chore
	if err := json.Unmarshal(j.Args.Payload, &c); err != nil {
		return nil, millhand.Permanent(err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, stage, bytes.NewReader(j.Args.Payload))
	if err != nil {
		return nil, millhand.Permanent(err)
	}
	req.Header.Set("Millhand-Id", j.ID)
	req.Header.Set("Millhand-Attempt", strconv.Itoa(j.Attempt))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }() // nothing of it is read
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusBadRequest:
		return nil, millhand.Permanent(fmt.Errorf("the stage says %s", resp.Status))
	default:
		return nil, fmt.Errorf("the stage says %s", resp.Status)
	}
	return nil, millhand.Grow(ctx, j, func(w *millhand.Workflow, self *millhand.Step) {
		last := self
		for n := range c.Grows {
			_, name, _ := workflow.Split(j.ID)
			last = w.Step(fmt.Sprint(name, "-", n), chore{Plan: c.Plan}.job(), millhand.After(self, last))
		}
	})
}

// A cast is the processes of a campaign.
type cast struct {
	*rand.Rand
	brokers []*brokerProcess
	stage   *stage
	config  string // of workers
	workers []*process
	done    map[string]int // what was done to them
	kills   []time.Time    // of brokers
}

func newCast(t *testing.T, seed uint64, clustered bool) *cast {
	t.Helper()
	c := &cast{
		Rand:  rand.New(rand.NewPCG(seed, 1)), //nolint:gosec // not a secret
		stage: newStage(t), done: make(map[string]int), workers: make([]*process, 5),
	}
	c.config = writeFile(t, "worker.yaml", fmt.Sprintf("types:\n  visit:\n    backoff: {initial: 100ms}\n    http: {url: %q}\n", c.stage.url))
	if clustered {
		c.brokers = startCluster(t, func(string) {})
	} else {
		c.brokers = []*brokerProcess{startBroker(t)}
	}
	for i := range c.workers {
		c.workers[i] = c.hire(t, i)
	}
	for _, w := range c.workers {
		w.awaitLog(t, "worker started")
	}
	return c
}

// hire starts a worker. The last two have jobs that add steps, all others the rest.
func (c *cast) hire(t *testing.T, i int) *process {
	t.Helper()
	if i < len(c.workers)-2 {
		return launchWorker(t, "-s", urls(c.brokers), "-f", c.config, "-c", "16", "--ack-wait", campaignLease.String(), "--drain-timeout", "1s", "--stats", "off")
	}
	args, err := json.Marshal(growerArgs{urls(c.brokers), c.stage.url})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = []string{growerEnv + "=" + string(args)}
	return launch(t, "grower", cmd)
}

// actUntil acts until all is over, or nobody has begun a job for a minute.
func (c *cast) actUntil(t *testing.T, over <-chan struct{}) {
	t.Helper()
	for seen, last := 0, time.Now(); time.Since(last) < patience; {
		select {
		case <-over:
			return
		default:
		}
		c.act(t)
		if n := c.stage.runCount(); n > seen {
			seen, last = n, time.Now()
		}
	}
}

// act does one thing to somebody, and lets a moment pass.
func (c *cast) act(t *testing.T) {
	t.Helper()
	i := c.IntN(len(c.workers))
	w := c.workers[i]
	switch what := c.IntN(20); {
	case what < 8:
		c.done["workers killed"]++
		w.kill(t)
		c.workers[i] = c.hire(t, i)
	case what < 10:
		c.done["workers drained"]++
		w.signal(t, syscall.SIGTERM)
		w.wait(t)
		c.workers[i] = c.hire(t, i)
	case what < 15:
		c.done["workers frozen"]++
		w.freeze(t)
		pause(campaignLease + time.Duration(c.IntN(2000))*time.Millisecond)
		w.thaw(t)
	default:
		b := c.brokers[c.IntN(len(c.brokers))]
		if c.IntN(2) == 0 {
			c.done["brokers killed"]++
			b.kill(t)
			c.kills = append(c.kills, time.Now())
		} else {
			c.done["brokers stopped"]++
			b.stop(t)
		}
		pause(time.Duration(c.IntN(1000)) * time.Millisecond)
		b.start(t)
		c.whole(t)
	}
	pause(time.Duration(200+c.IntN(1500)) * time.Millisecond)
}

// whole waits until each node of a cluster has all that the others have: with two that have not, it would be a cluster
// that forgets.
func (c *cast) whole(t *testing.T) {
	t.Helper()
	if len(c.brokers) == 1 {
		return
	}
	nc, err := dial(urls(c.brokers), nats.MaxReconnects(-1), nats.ReconnectWait(100*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	until(t, "all nodes are current", func() bool {
		all := js.ListStreams(t.Context())
		for info := range all.Info() {
			if info.Cluster == nil || info.Cluster.Leader == "" {
				return false
			}
			for _, r := range info.Cluster.Replicas {
				if !r.Current || r.Offline {
					return false
				}
			}
		}
		return all.Err() == nil
	})
}
