package view_test

import (
	"flag"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/natstest"
	"github.com/millhand/millhand/internal/view"
)

var manyJobs = flag.Int("view.jobs", 25_000, "how many jobs wait while requests are counted")

// What a snapshot asks for in these tests.
const (
	queues = 2
	others = 5 // the names of the streams, the registry, and the streams of events, dead jobs and statistics
	types  = 6 // in both queues
)

// fill publishes n jobs of a type, and waits for every thousandth: the server takes only so many at a
// time.
func (m *mill) fill(t *testing.T, nc *nats.Conn, n int, kind, typ string) {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		id := fmt.Sprintf("%s-%d", typ, i)
		msg := &nats.Msg{Subject: "millhand.default." + kind + "." + typ + "." + id, Data: []byte(`{}`)}
		if kind == "later" {
			at := time.Now().Add(24 * time.Hour).UTC().Format(time.RFC3339Nano)
			msg.Header = nats.Header{"Nats-Schedule": {"@at " + at}, "Nats-Schedule-Target": {"millhand.default.ready." + typ + "." + id}, "Millhand-Life": {id}, "Millhand-Due": {at}}
		}
		if i%1000 == 999 || i == n-1 {
			_, err = js.PublishMsg(t.Context(), msg)
		} else {
			err = nc.PublishMsg(msg)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// The rules of what a look costs, with many jobs in the queue.
func TestCostsDoNotGrowWithTheQueue(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		m := newMill(t, s)
		m.hire(t, millhand.WorkerConfig{Concurrency: 2, Queues: []millhand.Queue{{Name: "default"}, {Name: "other"}}}, m.wait, "email", "rare", "seldom")
		time.Sleep(time.Second)
		m.enqueue(t, 5, "email")
		m.enqueue(t, 3, "email", millhand.WithDelay(time.Hour))
		time.Sleep(time.Second)
		small := m.asked.during(func() { m.snapshot(t) })
		few := m.asked.during(func() { m.problems(t) })

		nc := s.Connect(t)
		m.fill(t, nc, *manyJobs, "ready", "email")
		m.fill(t, nc, 5, "ready", "rare")
		time.Sleep(15 * time.Second) // what was counted is old by now

		m.snapshotCostsTheSame(t, small)
		m.nextAsksForStates(t)
		m.problemsCostTheSame(t, few)
		m.allShareOne(t)
		m.nobodyLooks(t)
		m.headIsReadJobByJob(t)
		m.endIsReadAtOnce(t)
		m.rareIsFound(t)
		m.searchKeepsToItsBudget(t)
		m.shownOrDecided(t)
		m.muchIsNotCounted(t, nc)
	})
}

// A snapshot costs as much as with five jobs.
func (m *mill) snapshotCostsTheSame(t *testing.T, small map[string]int) {
	t.Helper()
	var snap *view.Snapshot
	asked := m.asked.during(func() { snap = m.snapshot(t) })
	if n, before := total(asked, ""), total(small, ""); n > before+1 { // for the other type
		t.Errorf("%d requests, and %d with five jobs: %v", n, before, asked)
	}
	if n := total(asked, "$JS.API.DIRECT.GET.millhand-queue-"); n > 3*queues+types {
		t.Errorf("%d reads: %v", n, asked)
	}
	q := snap.Queues[0]
	if q.Ready.Value != int64(*manyJobs)+3+5 || q.Later.Value != 3 || q.Later.How != view.Exact {
		t.Errorf("ready %+v, later %+v", q.Ready, q.Later)
	}
	for _, typ := range q.Types {
		if typ.Oldest.How != view.Exact || (typ.Oldest.Seq > 0) != (typ.Ready.Value > 0) || typ.Oldest.Seq > 0 && typ.Oldest.Seq <= typ.Delivered {
			t.Errorf("%s: oldest %+v", typ.Name, typ.Oldest)
		}
	}
}

// problems looks what is wrong, as status, check and the metrics of a cluster do.
func (m *mill) problems(t *testing.T) {
	t.Helper()
	_, r, err := m.looker.Look(t.Context())
	if err != nil || len(r.Unknown) > 0 && r.Unknown[0].Why != "the first minute of statistics is not over" {
		t.Errorf("report %+v, %v", r, err)
	}
}

// What is wrong costs as much to say as with five jobs, and the next time nothing beyond the snapshot.
func (m *mill) problemsCostTheSame(t *testing.T, few map[string]int) {
	t.Helper()
	time.Sleep(time.Minute) // what was read of statistics and account is old by now
	asked := m.asked.during(func() { m.problems(t) })
	beside := func(asked map[string]int) (n int) { // the snapshot
		for _, prefix := range []string{"$JS.API.DIRECT.GET.millhand-stats", "$JS.API.STREAM.MSG.GET.millhand-stats", "$JS.API.INFO"} {
			n += total(asked, prefix)
		}
		return n
	}
	if n := beside(asked); n != 3 || beside(few) != 3 || total(asked, "") > 3+2*queues+others+3*queues+types {
		t.Errorf("%d requests beside the snapshot's, and %d with five jobs: %v", n, beside(few), asked)
	}
	asked = m.asked.during(func() { m.problems(t) })
	if n := total(asked, ""); n != 2*queues+others {
		t.Errorf("%d requests: %v", n, asked)
	}
}

// R1: the next one asks for states only.
func (m *mill) nextAsksForStates(t *testing.T) {
	t.Helper()
	asked := m.asked.during(func() { m.snapshot(t) })
	if n := total(asked, ""); n != 2*queues+others || total(asked, "$JS.API.DIRECT.GET.millhand-queue-") != 0 {
		t.Errorf("%d requests: %v", n, asked)
	}
}

// R1: all who look share one.
func (m *mill) allShareOne(t *testing.T) {
	t.Helper()
	m.link.Slow(20 * time.Millisecond) // so that all come while the first one waits
	defer m.link.Slow(0)
	asked := m.asked.during(func() {
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() { m.snapshot(t) })
		}
		wg.Wait()
	})
	if n := total(asked, ""); n != 2*queues+others {
		t.Errorf("%d requests: %v", n, asked)
	}
}

// R1: nothing is asked while nobody looks.
func (m *mill) nobodyLooks(t *testing.T) {
	t.Helper()
	if asked := m.asked.during(func() { time.Sleep(10 * time.Minute) }); total(asked, "") > 0 {
		t.Errorf("requests %v", asked)
	}
}

// R2: a page from the head is read job by job.
func (m *mill) headIsReadJobByJob(t *testing.T) {
	t.Helper()
	m.snapshot(t)
	var page *view.Page
	asked := m.asked.during(func() { page = m.page(t, "state:ready type:email", view.Usual) })
	reads := total(asked, "$JS.API.DIRECT.GET.millhand-queue-default")
	if len(page.Jobs) != 50 || page.Jobs[0].ID == "" || page.Cursor == "" || page.Total.Value != int64(*manyJobs)+3 || reads < 50 || reads > 150 {
		t.Errorf("%d jobs, total %+v, %d reads", len(page.Jobs), page.Total, reads)
	}
}

// A page from the end is read at once.
func (m *mill) endIsReadAtOnce(t *testing.T) {
	t.Helper()
	var page *view.Page
	asked := m.asked.during(func() { page = m.page(t, "state:ready type:email", view.NewestFirst) })
	if n := total(asked, "$JS.API.DIRECT.GET.millhand-queue-default"); len(page.Jobs) != 50 || n > 200 {
		t.Errorf("%d jobs, %d reads", len(page.Jobs), n)
	}
}

// R4: the few jobs of a rare type at the end are found at once.
func (m *mill) rareIsFound(t *testing.T) {
	t.Helper()
	var page *view.Page
	m.snapshot(t)
	asked := m.asked.during(func() { page = m.page(t, "state:ready type:rare", view.Usual) })
	if n := total(asked, "$JS.API.DIRECT.GET.millhand-queue-default"); len(page.Jobs) != 5 || n != 1 {
		t.Errorf("%d jobs, %d reads: %v", len(page.Jobs), n, asked)
	}
}

// A search keeps to its budget and goes on.
func (m *mill) searchKeepsToItsBudget(t *testing.T) {
	t.Helper()
	page := m.page(t, "state:ready type:email payload:nothing", view.Usual)
	if len(page.Jobs) > 0 || page.Cursor == "" || page.Looked.Messages < 20_000 || page.Looked.Messages > 21_000 || page.Class != "scan" || page.Looked.BackTo.IsZero() {
		t.Errorf("looked %+v, cursor %q", page.Looked, page.Cursor)
	}
}

// R5: what is only shown comes from any replica, what is decided on from the leader.
func (m *mill) shownOrDecided(t *testing.T) {
	t.Helper()
	asked := m.asked.during(func() { m.page(t, "state:ready,dead,succeeded", view.Usual) })
	if n := total(asked, "$JS.API.STREAM.MSG.GET."); n > 0 {
		t.Errorf("a list asks leaders: %v", asked)
	}
	p, err := job.PlaceOf("default", "email", "email-7")
	if err != nil {
		t.Fatal(err)
	}
	asked = m.asked.during(func() {
		if _, err := m.view.Job(t.Context(), p, ""); err != nil {
			t.Error(err)
		}
	})
	if n := total(asked, "$JS.API.DIRECT.GET.millhand-"); n > 0 || total(asked, "$JS.API.STREAM.MSG.GET.") != 3 {
		t.Errorf("all about a job: %v", asked)
	}
}

// R3: what is much is not counted for a snapshot.
func (m *mill) muchIsNotCounted(t *testing.T, nc *nats.Conn) {
	t.Helper()
	m.fill(t, nc, 20_000, "later", "email")
	time.Sleep(15 * time.Second)
	var snap *view.Snapshot
	asked := m.asked.during(func() { snap = m.snapshot(t) })
	if n := total(asked, "$JS.API.DIRECT.GET.millhand-queue-default"); n > types {
		t.Errorf("%d reads: %v", n, asked)
	}
	q := snap.Queues[0]
	if q.Later.Value != 20_003 || q.Later.How != view.About || q.Scheduled.Known() || q.Retrying.Known() {
		t.Errorf("later %+v, scheduled %+v, retrying %+v", q.Later, q.Scheduled, q.Retrying)
	}
}

func (m *mill) page(t *testing.T, text string, order view.Order) *view.Page {
	t.Helper()
	page, err := m.view.List(t.Context(), view.Query{Filter: parse(t, text), Order: order})
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return page
}
