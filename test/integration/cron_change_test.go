package integration

import (
	"context"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/millhand/millhand"
)

// A tickLog is a worker to which nothing happens. It runs the jobs of ticks and notes them.
type tickLog struct {
	mu   sync.Mutex
	runs map[string]map[time.Time]int // by payload
}

// logTicks works off jobs of the type tick until the test ends.
func logTicks(t *testing.T, url string) *tickLog {
	t.Helper()
	l := &tickLog{runs: make(map[string]map[time.Time]int)}
	mux := millhand.NewMux()
	mux.HandleFunc("tick", func(_ context.Context, j *millhand.Job[millhand.Raw]) ([]byte, error) {
		l.mu.Lock()
		defer l.mu.Unlock()
		form := string(j.Args.Payload)
		if l.runs[form] == nil {
			l.runs[form] = make(map[time.Time]int)
		}
		l.runs[form][j.Tick.UTC()]++
		return nil, nil
	}, millhand.TypeConfig{})
	runWorker(t, url, millhand.WorkerConfig{Mux: mux})
	return l
}

// of returns how often each tick of a payload ran.
func (l *tickLog) of(form string) map[time.Time]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.runs[form])
}

// checkOnce fails if a tick had more than one job.
func (l *tickLog) checkOnce(t *testing.T) {
	t.Helper()
	for _, form := range l.forms() {
		for tick, n := range l.of(form) {
			if n != 1 {
				t.Errorf("the tick of %v ran %d times as %s", tick, n, form)
			}
		}
	}
}

func (l *tickLog) forms() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Collect(maps.Keys(l.runs))
}

// Workers with two versions of a file are restarted in turn. The last that started has the say: no tick
// comes as the version before has it, once it is known that the edit was made, and each comes once. The
// last version removes the entry.
func TestTwoVersionsOfASchedule(t *testing.T) {
	t.Parallel()
	broker := startBroker(t)
	ticks := logTicks(t, broker.URL)
	client := newClient(t, broker.URL)
	const common = "types: {other: {exec: [\"true\"]}}\ncron:\n  often: "
	files := map[string]string{
		`"a"`: writeFile(t, "a.yaml", common+`{schedule: "@every 1s", type: tick, payload: a, overlap: allow, catch_up: all}`),
		`"b"`: writeFile(t, "b.yaml", common+`{schedule: "* * * * *", type: tick, payload: b, overlap: allow, catch_up: all}`),
		`"c"`: writeFile(t, "c.yaml", common+`{schedule: "@every 2s", type: tick, payload: c, queue: other, overlap: allow, catch_up: all}`),
	}
	type span struct{ from, until time.Time }
	replaced := make(map[string][]span) // while another form was known to have the say
	workers := make(map[string]*process)
	last := ""
	for _, form := range []string{`"a"`, `"b"`, `"a"`, `"c"`, `"a"`, `"b"`} {
		if w := workers[form]; w != nil {
			w.kill(t)
		}
		before := time.Now()
		workers[form] = startWorker(t, broker.URL, "-f", files[form])
		if spans := replaced[form]; len(spans) > 0 {
			spans[len(spans)-1].until = before
		}
		begun := time.Now()
		replaced[last], last = append(replaced[last], span{from: begun, until: begun.Add(time.Hour)}), form
		if form != `"a"` {
			pause(1500 * time.Millisecond)
			continue
		}
		seen := len(ticks.of(form))
		until(t, "ticks as the file that came last has them", func() bool { return len(ticks.of(form)) >= seen+3 })
	}
	// Those that run on do not put it again.
	startWorker(t, broker.URL, "-f", writeFile(t, "gone.yaml", common+`{remove: true}`))
	begun := time.Now()
	replaced[last] = append(replaced[last], span{from: begun, until: begun.Add(time.Hour)})
	pause(2500 * time.Millisecond)
	if infos, err := client.Crons(t.Context()); err != nil || len(infos) != 0 {
		t.Errorf("entries: %+v, %v", infos, err)
	}
	ticks.checkOnce(t)
	for form, spans := range replaced {
		for tick := range ticks.of(form) {
			for _, sp := range spans {
				if tick.After(sp.from) && !tick.After(sp.until) {
					t.Errorf("the tick of %v ran as %s, which was replaced from %v to %v", tick, form, sp.from, sp.until)
				}
			}
		}
	}
}

// The leader of the queue's stream is killed while workers publish ticks to it. Each tick runs
// once, and none is left out.
func TestTicksAcrossElections(t *testing.T) {
	t.Parallel()
	nodes := startCluster(t, func(string) {})
	all := urls(nodes)
	ticks := logTicks(t, all)
	file := writeFile(t, "cron.yaml", `
types: {other: {exec: ["true"]}}
cron:
  often: {schedule: "@every 1s", type: tick, payload: a, overlap: allow, catch_up: all}
`)
	startWorker(t, all, "-f", file)
	startWorker(t, all, "-f", file)
	count := func() int { return len(ticks.of(`"a"`)) }
	until(t, "a tick", func() bool { return count() >= 1 })
	killLeader(t, nodes, "millhand-queue-default")
	seen := count()
	until(t, "more ticks than are published ahead, and none left out", func() bool {
		runs := ticks.of(`"a"`)
		return len(runs) >= seen+10 && len(runs) == spanned(runs)
	})
	ticks.checkOnce(t)
}
