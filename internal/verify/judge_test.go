package verify

import (
	"errors"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"pgregory.net/rapid"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/registry"
	"github.com/millhand/millhand/internal/stream"
	"github.com/millhand/millhand/internal/view"
)

var noon = time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)

// What a broker in a test cannot have is judged by facts alone, and so are the borders of what may be.
func TestJudgements(t *testing.T) {
	ago := func(d time.Duration) time.Time { return noon.Add(-d) }
	replica := func(current bool, lag uint64) func(*Facts) {
		return func(f *Facts) {
			f.Snapshot.Server.Cluster = "c"
			f.Own["millhand-events"] = true
			f.Snapshot.Streams[0].Leader = "a"
			f.Snapshot.Streams[0].Info.Config.Replicas = 3
			f.Snapshot.Streams[0].Replicas = []view.Replica{{Server: "b", Current: current, Lag: lag}}
		}
	}
	quotaOf2 := func(set time.Time, running ...time.Time) func(*Facts) {
		return func(f *Facts) {
			f.Snapshot.Pools = []view.Pool{{Name: "a", Kind: "type", Limit: 2, Set: set, Held: 2, Grants: []view.Grant{{Worker: "w", Grant: registry.Grant{Held: len(running)}}}}}
			f.Snapshot.Workers = []registry.Node{{ID: "w"}}
			for i, since := range running {
				f.Running = append(f.Running, registry.Running{ID: strconv.Itoa(i), Type: "a", Queue: "q", Since: since, Node: "w"})
			}
		}
	}
	typed := func(change func(*view.Type)) func(*Facts) {
		return func(f *Facts) {
			typ := view.Type{Name: "a", Queue: "q", Ready: view.Counted(3, view.Exact, noon), Consumer: true, Workers: 1}
			change(&typ)
			f.Snapshot.Queues = []view.Queue{{Name: "q", Types: []view.Type{typ}}}
		}
	}
	for _, c := range []struct {
		name, id string
		facts    func(*Facts)
		found    int
		skipped  bool
	}{
		{"an old server", "S01", func(f *Facts) { f.Server = stream.Server{Version: "2.10.4", Level: 0} }, 1, false},
		{"a server that does not say", "S01", func(f *Facts) { f.Server = stream.Server{Level: -1} }, 0, false},
		{"one replica in a cluster", "S06", func(f *Facts) {
			replica(true, 0)(f)
			f.Snapshot.Streams[0].Info.Config.Replicas = 1
		}, 1, false},
		{"no leader", "S06", func(f *Facts) {
			replica(true, 0)(f)
			f.Snapshot.Streams[0].Leader = ""
		}, 1, false},
		{"three current replicas", "S06", replica(true, 0), 0, false},
		{"a single server", "S06", func(*Facts) {}, 0, true},
		{"a stream that is not ours", "S06", func(f *Facts) {
			replica(false, 9)(f)
			clear(f.Own)
		}, 0, true},
		{"a replica behind", "B01", replica(false, 100), 1, false},
		{"a replica that follows", "B01", replica(true, 3), 0, false},
		{"no replicas", "B01", func(*Facts) {}, 0, true},
		{"a small max_payload", "S07", func(f *Facts) { f.MaxPayload = 100 << 10 }, 1, false},
		{"full events that reach back 10 s", "S05", func(f *Facts) {
			s := &f.Snapshot.Streams[0]
			s.Info.Config.MaxMsgs, s.Info.State.Msgs = 100, 100
			s.FirstTime, s.LastTime = ago(10*time.Second), noon
		}, 1, false},
		{"ready, and requests that get nothing", "Q01", typed(func(typ *view.Type) { typ.Pulls = 2 }), 1, false},
		{"ready, and workers that are full", "Q01", typed(func(*view.Type) {}), 0, false},
		{"nothing ready of a type that nobody serves", "Q01", typed(func(typ *view.Type) { typ.Workers, typ.Ready.Value = 0, 0 }), 0, false},
		{"it is not known what is ready", "Q01", typed(func(typ *view.Type) { typ.Workers, typ.Ready = 0, view.Uncounted() }), 0, false},
		{"a job that is overdue", "Q01", func(f *Facts) { f.Late = []Waiting{{Queue: "q", Type: "a", ID: "x", RunAt: ago(time.Hour)}} }, 1, false},
		{"an end that was written just now", "C01", func(f *Facts) {
			f.Sampled.Jobs, f.Waiting = 1, []Waiting{{Queue: "q", Type: "a", ID: "x", Stored: ago(time.Hour), End: &End{At: ago(time.Second)}}}
		}, 0, false},
		{"jobs that are older than the limit", "L02", quotaOf2(ago(time.Minute), ago(time.Hour), ago(time.Hour), ago(time.Hour)), 0, false},
		{"jobs that are older than the limit keep their permits", "L01", quotaOf2(ago(time.Minute), ago(time.Hour), ago(time.Hour), ago(time.Hour)), 0, false},
		{"jobs that are older than their type's key", "L02", func(f *Facts) {
			quotaOf2(ago(time.Hour), ago(time.Minute), ago(time.Minute), ago(time.Minute))(f)
			f.Snapshot.Pools[0].Name, f.Snapshot.Pools[0].Kind, f.Snapshot.Pools[0].Types = "key=k", "key", []string{"a"}
			f.Keyed = map[string]time.Time{"a": ago(30 * time.Second)}
		}, 0, false},
		{"a third job after the limit", "L02", quotaOf2(ago(time.Hour), ago(time.Minute), ago(time.Minute), ago(time.Minute)), 1, false},
		{"a third job that started just now", "L02", quotaOf2(ago(time.Hour), ago(time.Minute), ago(time.Minute), ago(time.Millisecond)), 0, false},
		{"a grant that should be gone", "L04", func(f *Facts) {
			f.Entries = []stream.Entry{{Key: "grant.a.w", Value: []byte("{}"), Time: ago(time.Hour), TTL: 10 * time.Second}}
		}, 1, false},
		{"a limit does not expire", "L04", func(f *Facts) { f.Entries = []stream.Entry{{Key: "grant.a._limit", Value: []byte("{}")}} }, 0, true},
		{"something that cannot be read", "L04", func(f *Facts) { f.failed[ofEntries] = errors.New("no") }, 0, true},
		{"one of two workers", "C06", func(f *Facts) {
			f.Running = []registry.Running{{ID: "x", Type: "a", Queue: "q", Node: "v"}, {ID: "x", Type: "a", Queue: "r", Node: "w"}}
		}, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := factsOfNothing()
			c.facts(f)
			checks := Checks()
			j := judge(&checks[slices.IndexFunc(checks, func(check Check) bool { return check.ID == c.id })], f)
			if len(j.findings) != c.found || (j.lookedAt == 0) != c.skipped {
				t.Errorf("looked at %d, found %v; want %d, skipped %v", j.lookedAt, j.findings, c.found, c.skipped)
			}
		})
	}
}

func factsOfNothing() *Facts {
	s := &view.Snapshot{Namespace: "millhand", At: noon, Streams: []view.Stream{{Name: "millhand-events", Info: &jetstream.StreamInfo{}}}}
	return &Facts{Snapshot: s, Own: make(map[string]bool), Ledger: newLedger(s), failed: make(map[fact]error)}
}

// A death has surely no record if none was removed that was stored around it.
func TestRecordsAreWholeAroundADeath(t *testing.T) {
	at := func(seq uint64, after time.Duration) Record { return Record{Seq: seq, DiedAt: noon.Add(after)} }
	for _, c := range []struct {
		name    string
		records []Record
		last    uint64
		whole   bool
	}{
		{"none was ever stored", nil, 0, true},
		{"all were removed", nil, 3, false},
		{"one after the other", []Record{at(1, -time.Hour), at(2, -time.Second), at(3, time.Second)}, 3, true},
		{"one is missing", []Record{at(1, -time.Hour), at(2, -time.Second), at(4, time.Second)}, 4, false},
		{"the last one is missing", []Record{at(1, -time.Hour), at(2, -time.Second)}, 3, false},
		{"one is missing long before", []Record{at(1, -2*time.Hour), at(3, -time.Hour), at(4, time.Second)}, 4, true},
		{"one is missing long after", []Record{at(1, -time.Hour), at(2, time.Second), at(3, time.Hour), at(5, 2*time.Hour)}, 5, true},
		{"what was before is not known", []Record{at(7, -time.Second), at(8, time.Second)}, 8, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := factsOfNothing()
			f.Snapshot.Streams = append(f.Snapshot.Streams, view.Stream{Name: "millhand-dead", LastSeq: c.last, Info: &jetstream.StreamInfo{}})
			f.Dead = c.records
			if got := f.recordsWhole(noon); got != c.whole {
				t.Errorf("whole %v, want %v", got, c.whole)
			}
		})
	}
}

// A ledger finds what is said of a life behind its end, whatever the order of the events of several.
func TestLedgerFindsWhatComesAfterTheEnd(t *testing.T) {
	kinds := []job.EventKind{job.EventRetrying, job.EventLost, job.EventSucceeded, job.EventDead, job.EventCancelled}
	rapid.Check(t, func(t *rapid.T) {
		l := newLedger(&view.Snapshot{})
		ended, want := make(map[string]bool), []uint64(nil)
		for seq := range uint64(rapid.IntRange(1, 30).Draw(t, "events")) {
			e := queue.JobEvent{Queue: "q", Type: "a", ID: rapid.SampledFrom([]string{"x", "y"}).Draw(t, "id")}
			e.Life, e.Kind, e.Sequence = rapid.SampledFrom([]string{"", "1", "2"}).Draw(t, "life"), rapid.SampledFrom(kinds).Draw(t, "kind"), seq+1
			l.Add(e, noon)
			switch k := e.ID + e.Life; {
			case e.Life == "": // nobody's of ours
			case ended[k]:
				want = append(want, seq+1)
			default:
				ended[k] = e.Kind.Final()
			}
		}
		var got []uint64
		for _, s := range l.After {
			got = append(got, s.Seq)
		}
		if !slices.Equal(got, want) {
			t.Errorf("found %v, want %v", got, want)
		}
	})
}

// Reported is what all looks saw, and no look more is taken than that needs.
func TestOnlyWhatAllLooksSawIsReported(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.IntRange(1, 4).Draw(t, "looks")
		var sights [][]string // what each look sees
		for range want {
			sights = append(sights, rapid.SliceOfDistinct(rapid.SampledFrom([]string{"a", "b", "c"}), rapid.ID).Draw(t, "sees"))
		}
		look := 0
		tr := newTrial([]Check{{ID: "T", judge: func(*Facts) judgement {
			j := judgement{lookedAt: 3}
			for _, about := range sights[look] {
				j.find(about, about, nil)
			}
			return j
		}}}, want)
		lasting := sights[0]
		for ; len(tr.unsure()) > 0; look++ {
			tr.look(factsOfNothing())
			lasting = slices.DeleteFunc(slices.Clone(lasting), func(about string) bool { return !slices.Contains(sights[look], about) })
			if len(lasting) == 0 && len(tr.unsure()) > 0 {
				t.Errorf("another look though nothing is left")
			}
		}
		r := tr.end(time.Second)
		if got := len(r.Checks[0].Findings); got != len(lasting) || (r.Violated == 1) != (got > 0) || r.OK+r.Violated != 1 {
			t.Errorf("reported %+v, want %q", r.Checks[0], lasting)
		}
		for _, f := range r.Checks[0].Findings {
			if len(f.Seen) != want {
				t.Errorf("%s seen %d times, want %d", f.About, len(f.Seen), want)
			}
		}
	})
}
