package metrics

import (
	"cmp"
	"maps"
	"runtime"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/millhand/millhand/internal/slots"
	"github.com/millhand/millhand/internal/tally"
	"github.com/millhand/millhand/internal/worker"
)

// A Worker collects what a worker knows of itself. It asks nobody else.
type Worker struct {
	observe func() *worker.Observation
	types   types
	d       workerDescs
}

// NewWorker returns a collector of a worker.
func NewWorker(observe func() *worker.Observation) *Worker {
	return &Worker{observe: observe, d: newWorkerDescs()}
}

// workerDescs describe its metrics.
type workerDescs struct {
	build, state, slots, used, running *prometheus.Desc
	started, ended, dead               *prometheus.Desc
	run, wait, settle                  *prometheus.Desc
	busy, lostLeases, redelivered      *prometheus.Desc
	panics, stuck, rebuilt             *prometheus.Desc
	settling, renewals                 *prometheus.Desc
	permits, restarts                  *prometheus.Desc
	connected, reconnects, clock       *prometheus.Desc
	records                            *prometheus.Desc
	request, permitStops               *prometheus.Desc
}

func newWorkerDescs() workerDescs {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("millhand_"+name, help, labels, nil)
	}
	return workerDescs{
		build:       desc("build_info", "Version of the program and of Go.", "version", "goversion"),
		state:       desc("worker_state", "Whether the worker is in this state.", "state"),
		slots:       desc("slots", "Jobs that the worker runs at once at most."),
		used:        desc("slots_used", "Slots that its running jobs take."),
		running:     desc("jobs_running", "Jobs that it runs, by type.", "queue", "type"),
		started:     desc("runs_started_total", "Handlers called.", "queue", "type"),
		ended:       desc("runs_ended_total", "Ends of runs, and of jobs that this worker ended without one, by outcome.", "queue", "type", "outcome"),
		dead:        desc("jobs_dead_total", "Jobs that died, by reason.", "queue", "type", "reason"),
		run:         desc("run_duration_seconds", "Time in the handler.", "type"),
		wait:        desc("wait_duration_seconds", "Time from when a job was ready, by the broker's clock, to its handler's call.", "type"),
		settle:      desc("settle_duration_seconds", "Time from a handler's end until that was acknowledged."),
		busy:        desc("busy_seconds_total", "Time in handlers, of those that still run up to now.", "type"),
		lostLeases:  desc("leases_lost_total", "Runs of this worker that lost their lease.", "type"),
		redelivered: desc("redeliveries_total", "Jobs that were handed out again since their first worker lost them.", "type"),
		panics:      desc("handler_panics_total", "Panics of handlers.", "type"),
		stuck:       desc("handlers_stuck", "Handlers that were given up and still run."),
		rebuilt:     desc("subscriptions_rebuilt_total", "Pull subscriptions that stopped delivering and were made again."),
		settling:    desc("settle_pending", "Jobs whose handler has ended and whose end is not acknowledged."),
		renewals:    desc("lease_renewals_total", "Renewals of leases, by whether the broker confirmed them.", "result"),
		permits:     desc("permits", "Permits of this worker, by what it does with them; wanted are those that it could use.", "pool", "use"),
		restarts:    desc("supervisor_restarts_total", "Restarts of parts of the worker.", "part"),
		connected:   desc("broker_connected", "Whether there is a connection to the broker."),
		reconnects:  desc("broker_reconnects_total", "Times that a lost connection came back."),
		clock:       desc("clock_offset_seconds", "How far this machine's clock is ahead of the broker's."),
		request:     desc("broker_request_duration_seconds", "Time until the broker answered a request, or did not: a write of a job or an event by itself, of the registry, the renewal of a lease.", "op"),
		permitStops: desc("permit_stops_total", "Jobs that were told to stop since their permit was lost.", "pool"),
		records:     desc("stats_records_total", "Records of statistics, by what became of them.", "result"),
	}
}

// Describe implements [prometheus.Collector].
func (w *Worker) Describe(to chan<- *prometheus.Desc) {
	d := w.d
	for _, desc := range []*prometheus.Desc{
		d.build, d.state, d.slots, d.used, d.running, d.started, d.ended, d.dead, d.run, d.wait, d.settle, d.busy, d.lostLeases, d.redelivered,
		d.panics, d.stuck, d.rebuilt, d.settling, d.renewals, d.permits, d.restarts, d.connected, d.reconnects, d.clock, d.records,
		d.request, d.permitStops,
	} {
		to <- desc
	}
}

// Collect implements [prometheus.Collector].
func (w *Worker) Collect(to chan<- prometheus.Metric) {
	o := w.observe()
	w.collectJobs(to, o)
	w.collectWorker(to, o)
}

// collectJobs sends what is counted of jobs.
func (w *Worker) collectJobs(to chan<- prometheus.Metric, o *worker.Observation) {
	byPair, byType := w.types.byPair(o.Counted)
	outcomes, reasons := labelsOf("outcome", tally.Outcomes()), labelsOf("reason", tally.Reasons())
	for _, p := range sorted(byPair) {
		c, queue, typ := byPair[p], label("queue", p.Queue), label("type", p.Type)
		to <- count(w.d.started, c.N[tally.Started], queue, typ)
		for i, outcome := range tally.Outcomes() {
			to <- count(w.d.ended, c.N[outcome], outcomes[i], queue, typ)
		}
		if c.N[tally.Dead] == 0 {
			continue // most types have no dead jobs, and need no five series for that
		}
		for i, reason := range tally.Reasons() {
			to <- count(w.d.dead, c.N[reason], queue, reasons[i], typ)
		}
	}
	for _, typ := range slices.Sorted(maps.Keys(byType)) {
		c := byType[typ]
		to <- newHistogram(w.d.run, c.Histogram(tally.Run), label("type", typ))
		to <- newHistogram(w.d.wait, c.Histogram(tally.Wait), label("type", typ))
		to <- prometheus.MustNewConstMetric(w.d.busy, prometheus.CounterValue, c.Busy().Seconds(), typ)
		to <- counter(w.d.lostLeases, c.N[tally.LostLeases], typ)
		to <- counter(w.d.redelivered, c.N[tally.Redelivered], typ)
		to <- counter(w.d.panics, c.N[tally.Panics], typ)
	}
	running := make(map[tally.Pair]int, len(byPair))
	for p := range byPair {
		running[p] = 0
	}
	for p, n := range o.Running {
		running[tally.Pair{Queue: p.Queue, Type: w.types.shown(p.Type)}] += n
	}
	for _, p := range sorted(running) {
		to <- gauge(w.d.running, running[p], p.Queue, p.Type)
	}
}

// collectWorker sends what is known of the worker itself.
func (w *Worker) collectWorker(to chan<- prometheus.Metric, o *worker.Observation) {
	to <- gauge(w.d.build, 1, o.Version, runtime.Version())
	for _, state := range []string{worker.Starting, worker.Working, worker.Draining} {
		to <- gauge(w.d.state, oneIf(o.State == state), state)
	}
	to <- gauge(w.d.slots, o.Concurrency)
	to <- gauge(w.d.used, o.SlotsUsed)
	to <- newHistogram(w.d.settle, o.Settle)
	to <- gauge(w.d.settling, o.Unsettled)
	to <- gauge(w.d.stuck, o.Abandoned)
	to <- counter(w.d.rebuilt, uint64(o.Rebuilt)) //nolint:gosec // it is not negative
	to <- counter(w.d.renewals, o.RenewalsConfirmed, "confirmed")
	to <- counter(w.d.renewals, o.RenewalsFailed, "failed")
	for _, p := range o.Permits {
		pool := Pool(p.Key)
		to <- gauge(w.d.permits, p.Used, pool, "used")
		to <- gauge(w.d.permits, max(p.Permits-p.Used, 0), pool, "idle")
		to <- gauge(w.d.permits, p.Want, pool, "wanted")
		if !p.Key.Rate {
			to <- counter(w.d.permitStops, p.Stops, pool)
		}
	}
	for _, part := range slices.Sorted(maps.Keys(o.Restarts)) {
		to <- counter(w.d.restarts, o.Restarts[part], part)
	}
	for _, op := range slices.Sorted(maps.Keys(o.Requests)) {
		to <- newHistogram(w.d.request, o.Requests[op], label("op", op))
	}
	to <- gauge(w.d.connected, oneIf(o.Connected))
	to <- counter(w.d.reconnects, o.Reconnects)
	to <- prometheus.MustNewConstMetric(w.d.clock, prometheus.GaugeValue, o.ClockOffset.Seconds())
	to <- counter(w.d.records, o.RecordsStored, "stored")
	to <- counter(w.d.records, o.RecordsResent, "resent")
	to <- counter(w.d.records, o.RecordsDropped, "dropped")
}

// rateOf begins the label of a rate.
const rateOf = "rate:"

// Pool returns the value of the label pool of a limit: "import", "key=crm", "queue=default", and of a
// rate "rate:import".
func Pool(k slots.Key) string {
	if k.Rate {
		return rateOf + k.String()
	}
	return k.String()
}

func counter(d *prometheus.Desc, n uint64, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
}

func gauge(d *prometheus.Desc, n int, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(n), labels...)
}

func oneIf(yes bool) int {
	if yes {
		return 1
	}
	return 0
}

// sorted returns the keys of a map by queue and type.
func sorted[V any](m map[tally.Pair]V) []tally.Pair {
	return slices.SortedFunc(maps.Keys(m), func(a, b tally.Pair) int {
		return cmp.Or(cmp.Compare(a.Queue, b.Queue), cmp.Compare(a.Type, b.Type))
	})
}
