package problem_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
	"github.com/millhand/millhand/internal/problem"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/registry"
	"github.com/millhand/millhand/internal/stats"
	"github.com/millhand/millhand/internal/stream"
	"github.com/millhand/millhand/internal/view"
)

// A site is a namespace on a real JetStream, in virtual time.
type site struct {
	*testing.T
	server   *natstest.Server
	client   *millhand.Client
	js       *stream.Client
	link     *natstest.Link // of the looker
	registry *registry.Store
	looker   *problem.Looker
	worker   string         // id of the one that was hired last
	its      *natstest.Link // of that one
}

func newSite(t *testing.T, server *natstest.Server) *site {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	client, err := millhand.NewClient(server.Connect(t), millhand.Config{Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	link := server.Link()
	js, err := stream.New(link.Connect(t), stream.Config{Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	reg := registry.NewStore(js, log)
	store := queue.NewStore(js, queue.Config{Registry: reg.Bucket(), Logger: log})
	look := view.New(view.Config{Client: js, Store: store, Registry: reg})
	return &site{
		T: t, server: server, client: client, js: js, link: link, registry: reg, looker: problem.NewLooker(js, look, stats.NewStore(js, log), nil),
	}
}

// hire starts a worker with two slots that serves "email".
func (s *site) hire(run func(context.Context) error, types ...millhand.TypeConfig) {
	s.Helper()
	s.hireAs(millhand.WorkerConfig{}, 0, run, types...)
}

// hireAs is hire of one whose machine's clock is behind by so much.
func (s *site) hireAs(cfg millhand.WorkerConfig, behind time.Duration, run func(context.Context) error, types ...millhand.TypeConfig) {
	s.Helper()
	cfg.Logger, cfg.Name, cfg.Mux, cfg.Concurrency, cfg.DrainTimeout = slog.New(slog.DiscardHandler), "w", millhand.NewMux(), 2, time.Second
	cfg.Mux.HandleFunc("email", func(ctx context.Context, _ *millhand.Job[millhand.Raw]) ([]byte, error) { return nil, run(ctx) }, types...)
	s.its = s.server.Link()
	s.its.Shift(behind)
	w, err := millhand.NewWorker(s.its.Connect(s.T), cfg)
	if err != nil {
		s.Fatal(err)
	}
	s.worker = w.ID()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = w.Run(ctx) }()
	s.Cleanup(func() { cancel(); <-ended })
	time.Sleep(time.Second)
}

func (s *site) enqueue(n int, opts ...millhand.EnqueueOption) {
	s.Helper()
	for range n {
		_, err := s.client.Enqueue(s.Context(), millhand.Raw{Name: "email"}, opts...)
		s.must(err)
	}
}

func (s *site) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (*site) sleep(d time.Duration) { time.Sleep(d) }

func ends(context.Context) error { return nil }

// runsOn runs until the handler is told to stop.
func runsOn(ctx context.Context) error {
	<-ctx.Done()
	return context.Cause(ctx)
}

// A fault is brought about on a real broker.
type fault struct {
	name string
	does func(s *site)
	want string // how "CODE SUBJECT: text" begins, one a line, WORKER being the worker's id
}

func faults() []fault { return slices.Concat(faultsOfJobs(), faultsOfWorkers(), faultsOfBrokers()) }

// Each kind of problem is brought about on a real broker, those of replicas in test/integration.
func TestEachProblemHasAFault(t *testing.T) {
	for _, k := range problem.Kinds() {
		begins := func(f fault) bool {
			return slices.ContainsFunc(strings.Split(f.want, "\n"), func(line string) bool { return strings.HasPrefix(line, string(k.Code)+" ") })
		}
		if has := slices.ContainsFunc(faults(), begins); has == (k.Code == problem.Lagging) {
			t.Errorf("%s: brought about in a bubble %t", k.Code, has)
		}
	}
}

// What is brought about on a real broker is told, with what it is about, and nothing else is.
func TestProblemsOnABroker(t *testing.T) {
	for _, tt := range faults() {
		t.Run(tt.name, func(t *testing.T) {
			natstest.Bubble(t, func(t *testing.T, server *natstest.Server) {
				s := newSite(t, server)
				tt.does(s)
				_, report, err := s.looker.Look(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				var got []string
				for _, p := range report.Problems {
					got = append(got, fmt.Sprintf("%s %s: %s", p.Code, p.Subject, p.Text))
				}
				want := strings.Split(strings.ReplaceAll(tt.want, "WORKER", s.worker), "\n")
				if tt.want == "" {
					want = nil
				}
				if !slices.EqualFunc(got, want, strings.HasPrefix) {
					t.Errorf("problems\n%s\nwant\n%s\nnot looked for %+v", strings.Join(got, "\n"), strings.Join(want, "\n"), report.Unknown)
				}
			})
		})
	}
}
