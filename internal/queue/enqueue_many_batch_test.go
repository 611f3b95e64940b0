package queue

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/natstest"
	"github.com/millhand/millhand/internal/stream"
)

// slowDisk has a store take its broker for one that syncs each write.
func slowDisk(s *Store) *pace {
	p := s.paceOf(queueName())
	p.noteEach(time.Millisecond, time.Now())
	return p
}

func TestPace(t *testing.T) {
	now := time.Now()
	const ms = time.Millisecond
	took := func(jobs int, times ...time.Duration) (b [2]batchTime) {
		for i, d := range times {
			b[1-i] = batchTime{jobs: jobs, took: d}
		}
		return b
	}
	for _, tt := range []struct {
		name string
		pace *pace
		jobs int
		want plan
	}{
		{"nothing is known", &pace{}, 1000, planProbe},
		{"too few to be worth it", &pace{}, minTogether - 1, planEach},
		{"fast", &pace{each: 10 * time.Microsecond, eachAt: now}, 1000, planEach},
		{"far away", &pace{each: 0, eachAt: now}, 1000, planEach},
		{"slow", &pace{each: ms / 4, eachAt: now}, 1000, planTogether},
		{"slow, but few", &pace{each: ms / 4, eachAt: now}, 150, planEach},
		{"slow, and a batch is fast", &pace{each: ms / 4, eachAt: now, batches: took(1000, 20*ms), batchAt: now}, 150, planTogether},
		{"slow, and two batches were no faster", &pace{each: ms / 4, eachAt: now, batches: took(1000, 200*ms, 300*ms), batchAt: now}, 1000, planEach},
		{"slow, and the first batch was no faster", &pace{each: ms / 4, eachAt: now, batches: took(1000, 200*ms), batchAt: now}, 1000, planTogether},
		{"slow, and one batch was no faster", &pace{each: ms / 4, eachAt: now, batches: took(1000, 200*ms, 20*ms), batchAt: now}, 1000, planTogether},
		{"slow, and a batch of fewer was fast", &pace{each: ms / 4, eachAt: now, batches: took(100, 20*ms, 20*ms), batchAt: now}, 1000, planEach},
		{"slow, and batches fail", &pace{each: ms / 4, eachAt: now, noneUntil: now.Add(1)}, 1000, planEach},
		{"a batch was slow a while ago", &pace{each: ms / 4, eachAt: now, batches: took(1000, time.Second, time.Second), batchAt: now.Add(-2 * batchLasts)}, 1000, planTogether},
		{"measured a while ago", &pace{each: ms, eachAt: now.Add(-2 * eachLasts)}, 1000, planProbe},
		{"batches for a while", &pace{each: ms, eachAt: now.Add(-11 * time.Second), batches: took(1000, ms), batchAt: now}, 1000, planProbe},
	} {
		if got := tt.pace.plan(tt.jobs, now); got != tt.want {
			t.Errorf("%s: plan %d, want %d", tt.name, got, tt.want)
		}
	}
}

// A broker that stores a batch as fast as all of its jobs is measured, and left alone.
func TestEnqueueManyMeasuresTheBroker(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		ids := numbered(1000)
		if err := errors.Join(s.store.EnqueueMany(s.ctx, s.batchOf(ids...))...); err != nil {
			t.Fatal(err)
		}
		s.checkWaiting(ids...)
		p := s.store.paceOf(queueName())
		if p.eachAt.IsZero() || !p.batchAt.IsZero() {
			t.Errorf("pace %+v", p)
		}
	})
}

// In batches each job has its own answer, as if it were alone.
func TestEnqueueManyInBatches(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		p := slowDisk(s.store)
		s.enqueue("taken")
		ids := numbered(2500)
		batch := s.batchOf(ids...)
		for i := range 1200 {
			batch[i].Once = false // of a fresh id
		}
		batch = append(batch, s.batchOf("n-7", "taken")...)
		large := s.batchOf("large")
		large[0].Record.Payload = make([]byte, s.store.payloadLimit()+1)
		below := s.batchOf("below")
		below[0].Below = 1
		batch = slices.Insert(slices.Insert(batch, 1300, large[0]), 20, below[0])
		for i, err := range s.store.EnqueueMany(s.ctx, batch) {
			_, duplicate := errors.AsType[*DuplicateError](err)
			_, tooLarge := errors.AsType[*TooLargeError](err)
			_, quota := errors.AsType[*QuotaError](err)
			switch id := batch[i].Record.ID; {
			case id == "taken", id == "n-7" && i > 100:
				if !duplicate {
					t.Errorf("%d, %s: %v", i, id, err)
				}
			case id == "large":
				if !tooLarge {
					t.Errorf("%s: %v", id, err)
				}
			case id == "below":
				if !quota {
					t.Errorf("%s: %v", id, err)
				}
			case err != nil:
				t.Errorf("%d, %s: %v", i, id, err)
			}
		}
		s.checkWaiting(append(ids, "taken")...)
		if p.batchAt.IsZero() {
			t.Error("no batch was made")
		}
	})
}

// Ids that are taken cost two refused batches, and then fewer and fewer are tried.
func TestEnqueueManyInBatchesOfTakenIDs(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		ids := numbered(5000)
		for _, err := range s.store.enqueueMany(s.ctx, s.batchOf(ids...), true) {
			if err != nil {
				t.Fatal(err)
			}
		}
		link := s.server.Link()
		store := s.open(link.Connect(t), Config{})
		slowDisk(store)
		sent := count(link, "millhand.q.ready.", natstest.Pass)
		for i, err := range store.EnqueueMany(s.ctx, s.batchOf(ids...)) {
			if _, duplicate := errors.AsType[*DuplicateError](err); !duplicate {
				t.Fatalf("%d: %v", i, err)
			}
		}
		// Each is sent once in flight and once by itself to learn what is there; the first batches twice more.
		if most := 2*len(ids) + 4*stream.MaxAtomic; int(sent.Load()) > most {
			t.Errorf("%d messages were sent, want at most %d", sent.Load(), most)
		}
		s.checkWaiting(ids...)
	})
}

// A stream that takes no batches is told so once, and gets the jobs by themselves.
func TestEnqueueManyIntoAStreamWithoutBatches(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		setAtomic(t, s, false)
		p := slowDisk(s.store)
		ids := numbered(3000)
		if err := errors.Join(s.store.EnqueueMany(s.ctx, s.batchOf(ids...))...); err != nil {
			t.Fatal(err)
		}
		s.checkWaiting(ids...)
		if !p.noneUntil.After(time.Now()) {
			t.Error("batches are tried again and again")
		}
	})
}

// Whatever becomes of a batch, each job is stored once, or refused for what is there. Of jobs with one id
// it may be any that is stored, since one whose message is lost is sent again behind the others.
func TestEnqueueManyInBatchesOverABreakingLink(t *testing.T) {
	natstest.Check(t, func(t *rapid.T, server *natstest.Server) {
		s := newScene(t, server)
		link := server.Link()
		store := s.open(link.Connect(t), Config{})
		slowDisk(store)
		var batch []Enqueue
		want := make(map[string]int) // how many jobs of the batch are stored under an id
		jobs := rapid.IntRange(minTogether, 400).Draw(t, "jobs")
		taken := rapid.SliceOfN(rapid.IntRange(0, jobs-1), 0, 3).Draw(t, "taken")
		twice := rapid.SliceOfN(rapid.IntRange(1, jobs-1), 0, 3).Draw(t, "twice")
		for i := range jobs {
			id := fmt.Sprintf("j-%d", i)
			if slices.Contains(twice, i) {
				id = batch[i-1].Record.ID
			}
			if _, known := want[id]; !known {
				want[id] = 1
				if slices.Contains(taken, i) {
					s.enqueue(id)
					want[id] = 0
				}
			}
			batch = append(batch, s.batchOf(id)...)
		}
		at := rapid.IntRange(0, 3*jobs).Draw(t, "message that breaks")
		fate := rapid.SampledFrom([]natstest.Fate{natstest.Pass, natstest.CutBefore, natstest.CutAfter, natstest.Lost}).Draw(t, "fate")
		sent := 0
		link.Watch(func(subject string) natstest.Fate {
			if !strings.HasPrefix(subject, "millhand.q.ready.") {
				return natstest.Pass
			}
			if sent++; sent == at {
				return fate
			}
			return natstest.Pass
		})
		for i, err := range store.EnqueueMany(s.ctx, batch) {
			d, duplicate := errors.AsType[*DuplicateError](err)
			if err != nil && !duplicate || duplicate && d.Life == batch[i].Record.Life {
				t.Errorf("job %d, %s: %v", i, batch[i].Record.ID, err)
			}
			if err == nil {
				want[batch[i].Record.ID]--
			}
		}
		var ids []string
		for id, left := range want {
			if left != 0 {
				t.Errorf("%s: %d too few jobs are stored", id, left)
			}
			ids = append(ids, id)
		}
		s.checkWaiting(ids...)
	})
}

// A middle-sized enqueue of several queues is sent to each.
func TestEnqueueManyIntoSeveralQueues(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		slowDisk(s.store)
		var batch []Enqueue
		for i := range 600 {
			r := s.record(fmt.Sprintf("m-%d", i))
			r.Queue = []string{"q", "r", "s"}[i%3]
			batch = append(batch, enqueueOf(r, true, 0))
		}
		if err := errors.Join(s.store.EnqueueMany(s.ctx, batch)...); err != nil {
			t.Fatal(err)
		}
		for i, e := range batch {
			if _, err := s.store.Find(s.ctx, job.Place{Queue: e.place.Queue, Type: e.place.Type, ID: e.place.ID}); err != nil {
				t.Fatalf("job %d: %v", i, err)
			}
		}
	})
}
