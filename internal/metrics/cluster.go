package metrics

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/millhand/millhand/internal/problem"
	"github.com/millhand/millhand/internal/registry"
	"github.com/millhand/millhand/internal/tally"
	"github.com/millhand/millhand/internal/view"
)

const (
	// ClusterFor is how old a snapshot may be that a scrape is answered from.
	ClusterFor = 5 * time.Second
	// clusterWithin bounds a scrape: a broker that does not answer in this time has nothing to tell.
	clusterWithin = 8 * time.Second
)

// A Cluster collects what the broker knows of all queues, workers and limits, at the moment of the scrape.
// What could not be read is absent: an old number would be taken for a new one.
type Cluster struct {
	look         func(context.Context) (*view.Snapshot, *problem.Report, error)
	wants        func(context.Context, *view.Snapshot) map[string]float64
	types, pools types
	d            clusterDescs
}

// NewCluster returns a collector of what look sees. If that fails, so does the scrape. Wants returns how many
// slots the jobs of each type want, nil if that is not known.
func NewCluster(look func(context.Context) (*view.Snapshot, *problem.Report, error), wants func(context.Context, *view.Snapshot) map[string]float64) *Cluster {
	return &Cluster{look: look, wants: wants, d: newClusterDescs()}
}

// clusterDescs describe its metrics.
type clusterDescs struct {
	ready, inHand, unserved, oldest       *prometheus.Desc // by queue and type
	later, retrying, paused, stored, size *prometheus.Desc // by queue
	dead, workers, slots, used            *prometheus.Desc
	limit, limitUsed, limitHeld, wanted   *prometheus.Desc // by pool
	lag, leaderless                       *prometheus.Desc // by stream
	history, problems, took, autoscale    *prometheus.Desc
}

func newClusterDescs() clusterDescs {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("millhand_"+name, help, labels, nil)
	}
	return clusterDescs{
		ready:      desc("queue_ready", "Jobs that are ready and not handed out.", "queue", "type"),
		inHand:     desc("queue_in_hand", "Jobs that were handed out and are not acknowledged.", "queue", "type"),
		unserved:   desc("queue_unserved", "Ready jobs of a type that no working worker serves in this queue.", "queue", "type"),
		oldest:     desc("queue_oldest_ready_seconds", "Age of the oldest ready job, 0 if none is ready.", "queue", "type"),
		later:      desc("queue_later", "Jobs that wait for their time, scheduled and retrying together.", "queue"),
		retrying:   desc("queue_retrying", "Jobs that wait for their next attempt, where they are few enough to be counted.", "queue"),
		paused:     desc("queue_paused", "Whether the queue is paused.", "queue"),
		stored:     desc("queue_stored_messages_total", "Messages that were ever stored in the queue: the last sequence of its stream.", "queue"),
		size:       desc("queue_bytes", "Bytes that the queue's stream has.", "queue"),
		dead:       desc("dead_jobs", "Dead jobs that are kept."),
		workers:    desc("workers", "Workers, by state.", "state"),
		slots:      desc("cluster_slots", "Jobs that all working workers run at once at most."),
		used:       desc("cluster_slots_used", "Slots that the running jobs of all workers take."),
		limit:      desc("limit", "Jobs that a limit allows.", "pool"),
		limitUsed:  desc("limit_used", "Permits of a limit that jobs use, or that workers have asked for jobs with.", "pool"),
		limitHeld:  desc("limit_held", "Permits of a limit that workers have.", "pool"),
		wanted:     desc("limit_wanted", "Permits of a limit that workers could use.", "pool"),
		lag:        desc("stream_replica_lag_messages", "Operations that the replica of a stream is behind which is furthest behind.", "stream"),
		leaderless: desc("stream_leaderless", "Whether a stream has no leader, or does not answer.", "stream"),
		history:    desc("events_oldest_seconds", "Age of the oldest event that is kept."),
		autoscale:  desc("autoscale_slots_wanted", "Slots that the jobs of a type want, cut off at limits and pauses.", "type"),
		problems:   desc("problems", "Problems, by code.", "code"),
		took:       desc("snapshot_duration_seconds", "Time that reading all this from the broker took."),
	}
}

// Describe implements [prometheus.Collector].
func (c *Cluster) Describe(to chan<- *prometheus.Desc) {
	d := c.d
	for _, desc := range []*prometheus.Desc{
		d.ready, d.inHand, d.unserved, d.oldest, d.later, d.retrying, d.paused, d.stored, d.size, d.dead, d.workers, d.slots, d.used,
		d.limit, d.limitUsed, d.limitHeld, d.wanted, d.lag, d.leaderless, d.history, d.problems, d.took, d.autoscale,
	} {
		to <- desc
	}
}

// Collect implements [prometheus.Collector].
func (c *Cluster) Collect(to chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), clusterWithin)
	defer cancel()
	s, r, err := c.look(ctx)
	if err != nil {
		to <- prometheus.NewInvalidMetric(c.d.took, err)
		return
	}
	to <- prometheus.MustNewConstMetric(c.d.took, prometheus.GaugeValue, s.Took.Seconds())
	known := !registryMissing(s)
	c.collectTypes(to, s, known)
	for i := range s.Queues {
		c.collectQueue(to, &s.Queues[i], known)
	}
	c.count(to, c.d.dead, s.Dead)
	if known {
		c.collectWorkers(to, s)
		c.collectLimits(to, s)
	}
	c.collectStreams(to, s, r)
	c.collectProblems(to, r)
	slots := make(map[string]float64)
	for typ, n := range c.wants(ctx, s) {
		slots[c.types.shown(typ)] += n
	}
	for _, typ := range slices.Sorted(maps.Keys(slots)) {
		to <- prometheus.MustNewConstMetric(c.d.autoscale, prometheus.GaugeValue, slots[typ], typ)
	}
}

func registryMissing(s *view.Snapshot) bool {
	for _, m := range s.Missing {
		if m.What == view.MissingRegistry {
			return true
		}
	}
	return false
}

// count sends a count that is known.
func (c *Cluster) count(to chan<- prometheus.Metric, d *prometheus.Desc, n view.Count, labels ...string) {
	if n.Known() {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(n.Value), labels...)
	}
}

// ofType is what is sent of a type in a queue, or of those that share a value. What is not known of one
// of these is not known of all.
type ofType struct {
	ready, inHand, unserved, oldest float64
	noReady, noInHand, noOldest     bool
}

func (c *Cluster) collectTypes(to chan<- prometheus.Metric, s *view.Snapshot, workersKnown bool) {
	all := make(map[tally.Pair]*ofType)
	at := func(queue, typ string) *ofType {
		p := tally.Pair{Queue: queue, Type: typ}
		if all[p] == nil {
			all[p] = new(ofType)
		}
		return all[p]
	}
	for i := range s.Queues {
		q := &s.Queues[i]
		unnamed := q.Unclaimed.Value
		for j := range q.Types {
			t := &q.Types[j]
			at(q.Name, c.types.shown(t.Name)).add(s, t)
			if !t.Consumer {
				unnamed -= t.Ready.Value
			}
		}
		if unnamed > 0 { // of types whose names nobody knows
			o := at(q.Name, tally.OtherType)
			o.ready, o.unserved, o.noOldest = o.ready+float64(unnamed), o.unserved+float64(unnamed), true
		}
	}
	for _, p := range sorted(all) {
		o := all[p]
		send := func(d *prometheus.Desc, unknown bool, v float64) {
			if !unknown {
				to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, p.Queue, p.Type)
			}
		}
		send(c.d.ready, o.noReady, o.ready)
		send(c.d.inHand, o.noInHand, o.inHand)
		send(c.d.unserved, o.noReady || !workersKnown, o.unserved)
		send(c.d.oldest, o.noOldest, o.oldest)
	}
}

func (o *ofType) add(s *view.Snapshot, t *view.Type) {
	o.ready += float64(t.Ready.Value)
	o.inHand += float64(t.InHand.Value)
	if t.Workers == 0 {
		o.unserved += float64(t.Ready.Value)
	}
	if t.Oldest.Seq > 0 {
		o.oldest = max(o.oldest, s.At.Sub(t.Oldest.At).Seconds())
	}
	o.noReady = o.noReady || !t.Ready.Known()
	o.noInHand = o.noInHand || !t.InHand.Known()
	o.noOldest = o.noOldest || t.Oldest.How != view.Exact
}

func (c *Cluster) collectQueue(to chan<- prometheus.Metric, q *view.Queue, registryKnown bool) {
	c.count(to, c.d.later, q.Later, q.Name)
	c.count(to, c.d.retrying, q.Retrying, q.Name)
	c.count(to, c.d.size, q.Bytes, q.Name)
	if q.Messages.Known() {
		to <- counter(c.d.stored, q.LastSeq, q.Name)
	}
	if registryKnown {
		to <- gauge(c.d.paused, oneIf(q.Paused != nil), q.Name)
	}
}

func (c *Cluster) collectWorkers(to chan<- prometheus.Metric, s *view.Snapshot) {
	states := map[string]int{registry.Working: 0, registry.Draining: 0}
	slots, used := 0, 0
	for i := range s.Workers {
		n := &s.Workers[i]
		used += n.SlotsUsed()
		if n.State == registry.Draining {
			states[registry.Draining]++
			continue
		}
		states[registry.Working]++
		slots += n.Concurrency
	}
	for _, state := range []string{registry.Working, registry.Draining} {
		to <- gauge(c.d.workers, states[state], state)
	}
	to <- gauge(c.d.slots, slots)
	to <- gauge(c.d.used, used)
}

// collectLimits sends what is known of limits. Of those beyond the first ones there is one for all.
func (c *Cluster) collectLimits(to chan<- prometheus.Metric, s *view.Snapshot) {
	sums, order := make(map[string]*view.Pool), []string{}
	for i := range s.Pools {
		p := &s.Pools[i]
		name := p.Name
		if p.Rate {
			name = rateOf + name
		}
		name = c.pools.shown(name)
		if sums[name] == nil {
			sums[name], order = new(view.Pool), append(order, name)
		}
		sum := sums[name]
		sum.Limit, sum.Used, sum.Held, sum.Want = sum.Limit+p.Limit, sum.Used+p.Used, sum.Held+p.Held, sum.Want+p.Want
	}
	for _, name := range order {
		p := sums[name]
		to <- gauge(c.d.limit, p.Limit, name)
		to <- gauge(c.d.limitUsed, p.Used, name)
		to <- gauge(c.d.limitHeld, p.Held, name)
		to <- gauge(c.d.wanted, p.Want, name)
	}
}

func (c *Cluster) collectStreams(to chan<- prometheus.Metric, s *view.Snapshot, r *problem.Report) {
	silent := make(map[string]bool)
	for i := range r.Problems {
		if p := &r.Problems[i]; p.Code == problem.Leaderless {
			silent[p.Subject] = true
		}
	}
	for i := range s.Streams {
		st := &s.Streams[i]
		if st.Info != nil || silent[st.Name] { // else it was not to be read
			to <- gauge(c.d.leaderless, oneIf(silent[st.Name]), st.Name)
		}
		most := uint64(0)
		for _, replica := range st.Replicas {
			most = max(most, replica.Lag)
		}
		if len(st.Replicas) > 0 {
			to <- prometheus.MustNewConstMetric(c.d.lag, prometheus.GaugeValue, float64(most), st.Name)
		}
		if strings.HasSuffix(st.Name, "-events") && st.Queue == "" && st.Info != nil && st.Messages.Value > 0 {
			to <- prometheus.MustNewConstMetric(c.d.history, prometheus.GaugeValue, s.At.Sub(st.FirstTime).Seconds())
		}
	}
}

// collectProblems sends how many problems there are of each code, but for codes that were not looked for.
func (c *Cluster) collectProblems(to chan<- prometheus.Metric, r *problem.Report) {
	counts, unknown := make(map[problem.Code]int), make(map[problem.Code]bool)
	for i := range r.Problems {
		counts[r.Problems[i].Code]++
	}
	for _, g := range r.Unknown {
		for _, code := range g.Codes {
			unknown[code] = true
		}
	}
	for _, k := range problem.Kinds() {
		if counts[k.Code] > 0 || !unknown[k.Code] {
			to <- gauge(c.d.problems, counts[k.Code], string(k.Code))
		}
	}
}
