package metrics

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/millhand/millhand/internal/tally"
)

// The results of an enqueue.
const (
	Stored    = "stored"
	Duplicate = "duplicate" // its id was taken
	Refused   = "refused"   // certainly not stored
	Failed    = "failed"    // it may be stored
)

// A Client counts what a client enqueues, and collects it. It is safe for concurrent use.
type Client struct {
	enqueues, duration *prometheus.Desc
	types              types
	took               tally.Timer

	mu     sync.Mutex
	counts map[enqueued]uint64
}

// enqueued is what is counted together.
type enqueued struct{ queue, typ, result string }

// NewClient returns a collector that has counted nothing.
func NewClient() *Client {
	return &Client{
		enqueues: prometheus.NewDesc("millhand_enqueues_total", "Jobs that were to be enqueued, by what came of it.", []string{"queue", "type", "result"}, nil),
		duration: prometheus.NewDesc("millhand_enqueue_duration_seconds", "Time until the broker had answered, for one job or several that are enqueued together.", nil, nil),
		counts:   make(map[enqueued]uint64),
	}
}

// Enqueued counts a job.
func (c *Client) Enqueued(queue, typ, result string) {
	e := enqueued{queue, c.types.shown(typ), result}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts[e]++
}

// Took counts a call.
func (c *Client) Took(d time.Duration) { c.took.Observe(d) }

// Describe implements [prometheus.Collector].
func (c *Client) Describe(to chan<- *prometheus.Desc) {
	to <- c.enqueues
	to <- c.duration
}

// Collect implements [prometheus.Collector].
func (c *Client) Collect(to chan<- prometheus.Metric) {
	c.mu.Lock()
	counts := maps.Clone(c.counts)
	c.mu.Unlock()
	for _, e := range slices.SortedFunc(maps.Keys(counts), func(a, b enqueued) int {
		return cmp.Or(cmp.Compare(a.queue, b.queue), cmp.Compare(a.typ, b.typ), cmp.Compare(a.result, b.result))
	}) {
		to <- counter(c.enqueues, counts[e], e.queue, e.typ, e.result)
	}
	to <- newHistogram(c.duration, c.took.Read())
}
