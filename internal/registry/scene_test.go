package registry

import (
	"context"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand/internal/natstest"
	"github.com/millhand/millhand/internal/slots"
	"github.com/millhand/millhand/internal/stream"
)

// scene is a broker with nodes, in a bubble, and an observer who is none of them.
type scene struct {
	t      natstest.TB
	ctx    context.Context //nolint:containedctx // a scene has one, which ends with it
	server *natstest.Server
	client *stream.Client
	store  *Store // the test's own, over a connection that nothing befalls
	logs   io.Writer
	rand   *rand.Rand

	mu      sync.Mutex
	nodes   map[string]*node
	limits  map[slots.Key][]setAt // in order
	running map[slots.Key]int
	starts  map[slots.Key][]time.Time
	begun   map[slots.Key]int // jobs that ever started
	ghosts  map[slots.Key]int // starts of nodes that are gone, which count for as long as the scene lasts

	blinds   [][2]time.Time // when a node could not see what is set: from, until
	exceeded bool
}

type setAt struct {
	Limit
	at time.Time
}

// seenWithin is how long a node may act on the limit before.
const seenWithin = time.Second

var (
	imports = slots.Key{Kind: slots.OfType, Name: "import"}
	mails   = slots.Key{Kind: slots.OfType, Name: "email", Rate: true}
)

func newScene(t natstest.TB, server *natstest.Server) *scene {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	s := &scene{
		t: t, ctx: ctx, server: server, logs: natstest.Output(t), rand: rand.New(rand.NewPCG(1, 2)),
		nodes: make(map[string]*node), limits: make(map[slots.Key][]setAt), running: make(map[slots.Key]int),
		starts: make(map[slots.Key][]time.Time), begun: make(map[slots.Key]int), ghosts: make(map[slots.Key]int),
	}
	s.client = s.connect(server.Link().Connect(t))
	s.store = NewStore(s.client, s.logger())
	t.Cleanup(func() {
		for _, n := range s.all() {
			n.crash()
		}
		cancel()
		synctest.Wait()
	})
	return s
}

// inScene is a test in a scene.
func inScene(t *testing.T, f func(s *scene)) {
	t.Helper()
	natstest.Bubble(t, func(t *testing.T, server *natstest.Server) { f(newScene(t, server)) })
}

func (s *scene) open(nc *nats.Conn) *Store { return NewStore(s.connect(nc), s.logger()) }

func (s *scene) connect(nc *nats.Conn) *stream.Client {
	s.t.Helper()
	c, err := stream.New(nc, stream.Config{Logger: s.logger()})
	if err != nil {
		s.t.Fatalf("client: %v", err)
	}
	return c
}

func (s *scene) logger() *slog.Logger {
	return natstest.Logger(s.logs)
}

func (s *scene) all() []*node {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []*node
	for _, id := range slices.Sorted(maps.Keys(s.nodes)) {
		all = append(all, s.nodes[id])
	}
	return all
}

// limit sets a limit.
func (s *scene) limit(p slots.Key, jobs int, per time.Duration) {
	s.t.Helper()
	l := Limit{Jobs: jobs, Per: per}
	s.mu.Lock()
	s.limits[p] = append(s.limits[p], setAt{l, time.Now()}) // counts from when it may be seen
	s.mu.Unlock()
	if err := s.store.SetLimit(s.ctx, p, l); err != nil {
		s.t.Fatalf("limit of %v: %v", p, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.limits[p][len(s.limits[p])-1].at = time.Now()
}

// key has a type share the limits of a key.
func (s *scene) key(typ, key string) {
	s.t.Helper()
	if err := s.store.SetKey(s.ctx, typ, key); err != nil {
		s.t.Fatalf("key of %s: %v", typ, err)
	}
}

// startsWithin returns how many jobs of a rate started within one period of the last two:
// they come in bursts a little more than a period apart.
func (s *scene) startsWithin(p slots.Key, period time.Duration) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	most := 0
	starts := s.starts[p]
	for i, from := range starts {
		if time.Since(from) >= 2*period {
			continue
		}
		n := 0
		for _, at := range starts[i:] {
			if at.Sub(from) < period {
				n++
			}
		}
		most = max(most, n)
	}
	return most
}

// most is the largest limit that a node may act on at the moment, false if it may act on none.
func (s *scene) most(p slots.Key, now time.Time) (most int, limited bool) {
	all := s.limits[p]
	for _, l := range slices.Backward(all) {
		if l.Jobs == 0 {
			return 0, false
		}
		most = max(most, l.Jobs-s.ghosts[p])
		if now.Sub(l.at) > seenWithin && !s.blind(l.at, now) {
			return most, true
		}
	}
	return 0, false
}

// measure sleeps for d and returns how many permits were used meanwhile on average.
func (s *scene) measure(p slots.Key, d time.Duration) float64 {
	const step = 5 * time.Millisecond
	sum := 0
	for range d / step {
		time.Sleep(step)
		s.mu.Lock()
		sum += s.running[p]
		s.mu.Unlock()
	}
	return float64(sum) / float64(d/step)
}

// held returns what each node holds by its own word in the bucket.
func (s *scene) held(p slots.Key) map[string]Grant {
	s.t.Helper()
	entries, _, err := s.store.bucket.Read(s.ctx, grantsOf(p))
	if err != nil {
		s.t.Fatalf("read %v: %v", p, err)
	}
	nodes := make(map[string]Grant)
	for _, e := range entries {
		if node := lastToken(e.Key); node != limitToken && e.Value != nil {
			nodes[node], _ = decodeGrant(e.Value)
		}
	}
	return nodes
}

// observe notes a start under a limit, and fails the test if it is one too many.
func (s *scene) observe(p slots.Key, now time.Time) {
	s.running[p]++
	s.begun[p]++
	most, limited := s.most(p, now)
	if !p.Rate {
		if limited && s.running[p] > most {
			s.tooMany("%v: %d run of %v at once, limit %d", now, s.running[p], p, most)
		}
		return
	}
	if len(s.limits[p]) == 0 {
		return
	}
	per := s.limits[p][len(s.limits[p])-1].Per
	s.starts[p] = append(s.starts[p], now)
	for now.Sub(s.starts[p][0]) >= per {
		s.starts[p] = s.starts[p][1:]
	}
	if limited && len(s.starts[p]) > most {
		s.tooMany("%v: %d starts of %v in %v, limit %d", now, len(s.starts[p]), p, per, most)
	}
}

// startedOf returns how many jobs of a key ever started.
func (s *scene) startedOf(p slots.Key) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.begun[p]
}

// blind reports whether a node may not have seen a limit: it was frozen or cut off when it was
// set, or soon after, and has not been back for long.
func (s *scene) blind(set, now time.Time) bool {
	for _, f := range s.blinds {
		if f[0].Before(set.Add(seenWithin)) && now.Before(f[1].Add(seenWithin)) {
			return true
		}
	}
	return false
}

// tooMany fails the test; once is enough.
func (s *scene) tooMany(format string, args ...any) {
	if !s.exceeded {
		s.t.Errorf(format, args...)
	}
	s.exceeded = true
}

// checkUsed fails the test unless the limit is well used for the next d.
func (s *scene) checkUsed(p slots.Key, limit int, d time.Duration) {
	s.t.Helper()
	if got := s.measure(p, d); got < wellUsed*float64(limit) {
		s.t.Errorf("%.2f of %d permits of %v are busy: %v", got, limit, p, s.held(p))
	}
}

// checkFair fails the test unless all nodes, who want as much, hold the same but for one.
func (s *scene) checkFair(p slots.Key, limit int) {
	s.t.Helper()
	nodes := s.held(p)
	for range 10 { // one may be on its way to whose turn it is
		if sum := held(nodes); sum == limit || limit >= len(nodes) {
			break
		}
		time.Sleep(50 * time.Millisecond)
		nodes = s.held(p)
	}
	sum := 0
	for id, g := range nodes {
		sum += g.Held
		if each := limit / len(nodes); g.Held < each || g.Held > each+1 {
			s.t.Errorf("%s holds %d of %d: %v", id, g.Held, limit, nodes)
		}
	}
	if sum != limit {
		s.t.Errorf("%d of %d are held: %v", sum, limit, nodes)
	}
}

// subject is where the bucket has a key.
func (s *scene) subject(key string) string { return "$KV." + s.store.bucket.Name() + "." + key }
