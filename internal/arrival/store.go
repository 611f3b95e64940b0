package arrival

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/stream"
	"github.com/millhand/millhand/internal/workflow"
)

// A Registry notes which queues have workflows.
type Registry interface {
	// UseWorkflows has the workers of a queue run the jobs by which workflows drive themselves.
	UseWorkflows(ctx context.Context, queue string) error
}

// A Store is the workflows of a namespace. It is safe for concurrent use.
type Store struct {
	client   *stream.Client
	queues   *queue.Store
	registry Registry
	orders   queue.ManyOrders
	log      *slog.Logger

	mu     sync.Mutex
	graphs map[string]*workflow.Graph // by run
	lately map[string]*looked         // by run
	shards map[shardKey]*shardWriter
	traces map[stepKey][]string // see Traces
}

// New returns a store over a client and the queues on it. It does no I/O, and has the ends of the queues'
// jobs counted.
func New(c *stream.Client, queues *queue.Store, registry interface {
	Registry
	queue.ManyOrders
}, log *slog.Logger,
) *Store {
	s := &Store{
		client: c, queues: queues, registry: registry, orders: registry, log: log,
		graphs: make(map[string]*workflow.Graph), lately: make(map[string]*looked), shards: make(map[shardKey]*shardWriter),
		traces: make(map[stepKey][]string),
	}
	queues.CountSteps(s)
	return s
}

// maxGraphs bounds the graphs that are kept in memory.
const maxGraphs = 64

func (s *Store) stream() string { return s.client.Namespace() + "-workflows" }

func (s *Store) specSubject(id string) string { return s.client.Namespace() + ".workflow.spec." + id }

func (s *Store) tallySubject(run string) string {
	return s.client.Namespace() + ".workflow.tally." + run
}

func (s *Store) outSubject(run, step string) string {
	return s.client.Namespace() + ".workflow.out." + run + "." + step
}

func (s *Store) itemsSubject(run, payloads, document string) string {
	return strings.Join([]string{s.client.Namespace(), "workflow.items", run, payloads, document}, ".")
}

func (s *Store) documentsOf(run string) []string {
	return []string{s.tallySubject(run), s.tallySubject(run) + ".>", s.outSubject(run, ">"), s.itemsSubject(run, "*", "*")}
}

// ensure makes the stream of the documents.
func (s *Store) ensure(ctx context.Context) error {
	_, _, err := s.client.Ensure(ctx, jetstream.StreamConfig{
		Name:        s.stream(),
		Description: "workflows: their graphs, and how far they have come",
		Subjects: []string{
			s.specSubject("*"), s.tallySubject("*"), s.tallySubject("*.*"), s.tallySubject("*.*.*"),
			s.outSubject("*", "*"), s.outSubject("*", "*.*"), s.itemsSubject("*", "*", "*"),
		},
		Storage:           jetstream.FileStorage,
		MaxMsgsPerSubject: 1,
		AllowDirect:       true, // for results: whatever decides reads from the leader
		Duplicates:        30 * time.Second,
	})
	return err
}

// errGone says that nothing is known of a run any more, or that its id is another one's by now.
var errGone = errors.New("nothing is known of this run")

// tally reads the tally of a run, or returns [errGone].
func (s *Store) tally(ctx context.Context, run string) (workflow.Tally, uint64, error) {
	m, err := s.client.Last(ctx, s.stream(), s.tallySubject(run))
	if errors.Is(err, stream.ErrNotFound) {
		return workflow.Tally{}, 0, errGone
	}
	if err != nil {
		return workflow.Tally{}, 0, err
	}
	t, err := workflow.DecodeTally(m.Data)
	return t, m.Seq, err
}

// spec reads the graph of an id, or returns [errGone].
func (s *Store) spec(ctx context.Context, id string) (*workflow.Spec, uint64, error) {
	m, err := s.client.Last(ctx, s.stream(), s.specSubject(id))
	if errors.Is(err, stream.ErrNotFound) {
		return nil, 0, errGone
	}
	if err != nil {
		return nil, 0, err
	}
	spec, err := workflow.DecodeSpec(m.Data)
	return spec, m.Seq, err
}

// look reads how far a run has come, with all steps of its graph.
func (s *Store) look(ctx context.Context, id, run string) (*workflow.Graph, workflow.Tally, uint64, error) {
	t, seq, err := s.tally(ctx, run)
	if err != nil {
		return nil, t, 0, err
	}
	if t.Abandoned {
		return nil, t, seq, errGone
	}
	s.mu.Lock()
	g := s.graphs[run]
	s.mu.Unlock()
	if g == nil || !g.Knows(&t) || g.Gen < t.Gen {
		if g, err = s.readGraph(ctx, id, run); err != nil {
			return nil, t, 0, err
		}
	}
	return g, g.Extend(&t), seq, nil
}

func (s *Store) readGraph(ctx context.Context, id, run string) (*workflow.Graph, error) {
	spec, _, err := s.spec(ctx, id)
	if err != nil {
		return nil, err
	}
	if spec.Run != run {
		return nil, errGone
	}
	g, err := workflow.NewGraph(spec)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.graphs) >= maxGraphs {
		clear(s.graphs)
	}
	s.graphs[run] = g
	return g, nil
}

// write stores a tally if that of a sequence is still the last one.
func (s *Store) write(ctx context.Context, run string, t *workflow.Tally, seq uint64) error {
	return s.publish(ctx, s.tallySubject(run), t.Encode(), seq)
}

// publish stores a document if that of a sequence is still the last one, else it returns
// [stream.ErrConflict]. With any other error it may be stored or not.
func (s *Store) publish(ctx context.Context, subject string, data []byte, seq uint64) error {
	_, err := s.publishMsg(ctx, &nats.Msg{Subject: subject, Header: nats.Header{}, Data: data}, seq)
	return err
}

// publishMsg is publish of a message with headers. It returns its sequence.
func (s *Store) publishMsg(ctx context.Context, m *nats.Msg, seq uint64) (uint64, error) {
	stream.Expect(m, seq, m.Subject)
	stored, err := s.client.Publish(ctx, m)
	if stream.Code(err) == stream.CodeWrongLastSeqBusy {
		return 0, stream.ErrConflict
	}
	return stored, err
}

// member returns which step of which workflow a job is. One that others publish, such as a signal, says so
// by its id only. It reports false for the job of a workflow itself.
func (s *Store) member(ctx context.Context, r *job.Record) (workflow.Member, bool, error) {
	if r.Workflow != "" {
		m, err := workflow.ParseMember(r.Workflow)
		return m, err == nil, nil // what cannot be read is of no workflow
	}
	id, name, ok := workflow.Split(r.ID)
	if !ok || r.Type != job.WorkflowType {
		return workflow.Member{}, false, nil
	}
	spec, _, err := s.spec(ctx, id)
	if errors.Is(err, errGone) {
		return workflow.Member{}, false, nil
	}
	if err != nil {
		return workflow.Member{}, false, err
	}
	t, _, err := s.tally(ctx, spec.Run)
	if err != nil && !errors.Is(err, errGone) {
		return workflow.Member{}, false, err
	}
	for i := range spec.Steps {
		if step := &spec.Steps[i]; step.Name == name && step.Kind == workflow.KindSignal && err == nil {
			return workflow.Member{ID: id, Run: spec.Run, Gen: t.Gen, Step: i, Job: -1}, true, nil
		}
	}
	return workflow.Member{}, false, nil
}
