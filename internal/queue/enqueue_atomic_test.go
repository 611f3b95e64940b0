package queue

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/natstest"
	"github.com/millhand/millhand/internal/stream"
)

// batchOf makes jobs of fresh lives, whose ids have to be free.
func (s *scene) batchOf(ids ...string) []Enqueue {
	batch := make([]Enqueue, len(ids))
	for i, id := range ids {
		batch[i] = enqueueOf(s.record(id), true, 0)
	}
	return batch
}

// numbered are ids that nobody else has.
func numbered(n int) []string {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprintf("n-%d", i)
	}
	return ids
}

// checkWaiting fails the test unless exactly these ids wait.
func (s *scene) checkWaiting(want ...string) {
	s.t.Helper()
	got := make(map[string]int)
	for _, m := range s.waiting() {
		if s.store.names.isHold(m.Subject) {
			continue
		}
		got[s.store.names.placeOf(m.Subject).ID.String()]++
	}
	for _, id := range want {
		if got[id] != 1 {
			s.t.Errorf("%s waits %d times", id, got[id])
		}
	}
	if len(got) != len(want) {
		s.t.Errorf("%v wait, want %q", got, want)
	}
}

func TestEnqueueAtomicStoresAll(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		ids := numbered(maxAtomicJobs)
		if err := s.store.EnqueueAtomic(s.ctx, s.batchOf(ids...)); err != nil {
			t.Fatal(err)
		}
		s.checkWaiting(ids...)
		if err := s.store.EnqueueAtomic(s.ctx, s.batchOf("alone")); err != nil {
			t.Fatal(err)
		}
		s.checkWaiting(append(ids, "alone")...)
	})
}

// Jobs of an atomic enqueue may wait for their time, and keep their ids, as any other.
func TestEnqueueAtomicTakesEveryOption(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		batch := s.batchOf("ready", "delayed", "at", "kept")
		batch[1].Delay = time.Minute
		batch[2].RunAt = time.Now().Add(2 * time.Minute)
		batch[3].UniqueFor = time.Hour
		kept := time.Now().Add(time.Hour)
		if err := s.store.EnqueueAtomic(s.ctx, batch); err != nil {
			t.Fatal(err)
		}
		for id, wait := range map[string]time.Duration{"ready": 0, "delayed": time.Minute, "at": 2 * time.Minute, "kept": 0} {
			m, err := s.store.Find(s.ctx, testPlace(id))
			if err != nil || wait == 0 != m.RunAt.IsZero() || wait > 0 && time.Until(m.RunAt).Round(time.Second) != wait {
				t.Errorf("%s: %+v, %v", id, m, err)
			}
		}
		if m, err := s.store.Find(s.ctx, testPlace("kept")); err != nil || m.UniqueUntil.Sub(kept).Abs() > time.Second {
			t.Errorf("kept: %+v, %v", m, err)
		}
		n := s.node("n")
		s.sleep(3 * time.Minute)
		if ran := n.finishAll(succeed(nil)); len(ran) != 4 {
			t.Errorf("%d ran", len(ran))
		}
		far := s.batchOf("x", "far")
		far[1].Delay = 11 * 366 * 24 * time.Hour
		err := s.store.EnqueueAtomic(s.ctx, far)
		if at, _ := errors.AsType[*AtomicError](err); at == nil || at.Index != 1 {
			t.Errorf("too far ahead: %v", err)
		}
	})
}

// Whatever is wrong with one job, nothing is stored, and the error names it.
func TestEnqueueAtomicStoresNone(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		s.enqueue("taken")
		s.hold("held", "gone", time.Now().Add(time.Hour))
		large := s.batchOf("a", "b")
		large[1].Record.Payload = make([]byte, s.store.payloadLimit()+1)
		other := s.batchOf("a", "b")
		other[1].place.Queue = typeName()
		many := s.batchOf(numbered(70)...)
		for _, e := range many {
			e.Record.Payload = make([]byte, 960<<10)
		}
		for _, c := range []struct {
			name  string
			batch []Enqueue
			index int // of the AtomicError; negative: none
			want  string
		}{
			{"taken", s.batchOf("a", "b", "taken", "c"), 2, "job taken of type t is already in queue q"},
			{"taken first", s.batchOf("taken", "b"), 0, "job taken of type t is already in queue q"},
			{"held", s.batchOf("a", "held"), 1, "id held of type t in queue q is taken until"},
			{"twice", s.batchOf("a", "b", "c", "b"), 3, `id "b": must not be that of job 1`},
			{"too large", large, 1, "is over the limit"},
			{"another queue", other, 1, "must be q as that of the first job"},
			{"none", nil, -1, "must have 1 to 1000"},
			{"too many", s.batchOf(numbered(maxAtomicJobs + 1)...), -1, "must have 1 to 1000"},
			{"too many bytes", many, -1, "must have at most 64 MiB"},
		} {
			err := s.store.EnqueueAtomic(s.ctx, c.batch)
			at, named := errors.AsType[*AtomicError](err)
			if err == nil || !strings.Contains(err.Error(), c.want) || named != (c.index >= 0) || named && at.Index != c.index {
				t.Errorf("%s: %v, want %d and %q", c.name, err, c.index, c.want)
			}
		}
		ended, cancel := context.WithCancel(s.ctx)
		cancel()
		if err := s.store.EnqueueAtomic(ended, s.batchOf("a", "b")); !errors.Is(err, ErrNotSent) {
			t.Errorf("with an ended context: %v", err)
		}
		s.checkWaiting("taken")
	})
}

// A type's limit counts what is alive and what is before a job in its batch.
func TestEnqueueAtomicBelowAQuota(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		s.enqueue("running")
		below := func(limit int, ids ...string) []Enqueue {
			batch := s.batchOf(ids...)
			for i := range batch {
				batch[i].Below, batch[i].Once = limit, i%2 == 0
			}
			return batch
		}
		err := s.store.EnqueueAtomic(s.ctx, below(4, "a", "b", "c", "d"))
		at, _ := errors.AsType[*AtomicError](err)
		quota, _ := errors.AsType[*QuotaError](err)
		if at == nil || at.Index != 3 || quota == nil || *quota != (QuotaError{Queue: "q", Type: "t", Limit: 4, Running: 4}) {
			t.Errorf("over the limit: %v", err)
		}
		if err := s.store.EnqueueAtomic(s.ctx, below(4, "running", "a")); err == nil || !strings.Contains(err.Error(), "job running") {
			t.Errorf("a taken id: %v", err)
		}
		if err := s.store.EnqueueAtomic(s.ctx, below(4, "a", "running", "b")); err != nil { // of which the second has no condition
			t.Errorf("below the limit: %v", err)
		}
		if n := len(s.waiting()); n != 4 {
			t.Errorf("%d wait", n)
		}
	})
}

// Of many who race below one limit, no more get in than it allows.
func TestEnqueueAtomicRacesBelowAQuota(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		const racers, each, limit = 12, 3, 10
		errs := make([]error, racers)
		var wg sync.WaitGroup
		for i := range racers {
			batch := s.batchOf(fmt.Sprintf("%d-a", i), fmt.Sprintf("%d-b", i), fmt.Sprintf("%d-c", i))
			for j := range batch {
				batch[j].Below = limit
			}
			wg.Go(func() { errs[i] = s.store.EnqueueAtomic(s.ctx, batch) })
		}
		wg.Wait()
		in := 0
		for _, err := range errs {
			if _, refused := errors.AsType[*QuotaError](err); err == nil {
				in += each
			} else if !refused {
				t.Errorf("enqueue: %v", err)
			}
		}
		if n := len(s.waiting()); n != in || in != limit/each*each {
			t.Errorf("%d wait, %d got in, want %d", n, in, limit/each*each)
		}
	})
}

// More batches at once than a queue takes part in wait for their turn.
func TestEnqueueAtomicWaitsForItsTurn(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		const callers = 60
		open := s.store.client // batches that nobody ends keep the others out for 10 s
		for i := range 50 {
			m := &nats.Msg{Subject: subjectOf(fmt.Sprintf("left-%d", i)), Header: nats.Header{}}
			if _, err := open.NewAtomicBatch().Stage(m, nil); err != nil {
				t.Fatal(err)
			}
		}
		errs := make([]error, callers)
		var wg sync.WaitGroup
		for i := range callers {
			batch := s.batchOf(fmt.Sprintf("%d-a", i), fmt.Sprintf("%d-b", i))
			wg.Go(func() { errs[i] = s.store.EnqueueAtomic(s.ctx, batch) })
		}
		wg.Wait()
		if err := errors.Join(errs...); err != nil {
			t.Error(err)
		}
		if n := len(s.waiting()); n != 2*callers {
			t.Errorf("%d wait", n)
		}
	})
}

// Whichever message the connection breaks at, before or after it, the batch is stored once.
func TestEnqueueAtomicOverABreakingLink(t *testing.T) {
	for _, fate := range []natstest.Fate{natstest.CutBefore, natstest.CutAfter, natstest.Lost} {
		for at := range 4 {
			t.Run(fmt.Sprintf("%d at %d", fate, at), func(t *testing.T) {
				inScene(t, func(t *testing.T, s *scene) {
					link := s.server.Link()
					store := s.open(link.Connect(t), Config{})
					sent := 0
					link.Watch(func(subject string) natstest.Fate {
						if !strings.HasPrefix(subject, "millhand.q.ready.") {
							return natstest.Pass
						}
						if sent++; sent == at+1 {
							return fate
						}
						return natstest.Pass
					})
					err := store.EnqueueAtomic(s.ctx, s.batchOf("a", "b", "c", "d"))
					if err != nil {
						t.Error(err)
					}
					if sent <= 4 {
						t.Errorf("%d messages were sent: nothing broke", sent)
					}
					s.checkWaiting("a", "b", "c", "d")
				})
			})
		}
	}
}

// A stream that an earlier version made is completed by the first batch.
func TestEnqueueAtomicCompletesAnOlderStream(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		setAtomic(t, s, false)
		if err := s.store.EnqueueAtomic(s.ctx, s.batchOf("a", "b")); err != nil {
			t.Fatal(err)
		}
		s.checkWaiting("a", "b")
	})
}

func setAtomic(t *testing.T, s *scene, on bool) {
	t.Helper()
	st, err := s.store.js.Stream(s.ctx, s.store.names.queueStream(queueName()))
	if err != nil {
		t.Fatal(err)
	}
	cfg := st.CachedInfo().Config
	cfg.AllowAtomicPublish = on
	if _, err := s.store.js.UpdateStream(s.ctx, cfg); err != nil {
		t.Fatal(err)
	}
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	clear(s.store.lacking)
}

// A broker may be set to take smaller batches.
func TestEnqueueAtomicOverTheBrokersOwnLimit(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		s.server.Stop()
		s.server.Configure = func(o *server.Options) { o.JetStreamLimits.MaxBatchSize = 3 }
		s.server.Start(t)
		err := s.store.EnqueueAtomic(s.ctx, s.batchOf("a", "b", "c", "d"))
		if _, invalid := errors.AsType[*job.InvalidError](err); !invalid || !strings.Contains(err.Error(), "too large: 3") {
			t.Errorf("4 jobs: %v", err)
		}
		if err := s.store.EnqueueAtomic(s.ctx, s.batchOf("a", "b", "c")); err != nil {
			t.Errorf("3 jobs: %v", err)
		}
		s.checkWaiting("a", "b", "c")
	})
}

// A message that the stream does not take is named, though only the last one has an answer at first.
func TestEnqueueAtomicNamesTheMessageThatIsTooLarge(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		st, err := s.store.js.Stream(s.ctx, s.store.names.queueStream(queueName()))
		if err != nil {
			t.Fatal(err)
		}
		cfg := st.CachedInfo().Config
		cfg.MaxMsgSize = 1024
		if _, err := s.store.js.UpdateStream(s.ctx, cfg); err != nil {
			t.Fatal(err)
		}
		batch := s.batchOf("a", "b", "c", "d")
		batch[2].Record.Payload = make([]byte, 2000)
		err = s.store.EnqueueAtomic(s.ctx, batch)
		if at, _ := errors.AsType[*AtomicError](err); at == nil || at.Index != 2 || stream.Code(err) != stream.CodeMessageTooLarge {
			t.Errorf("enqueue: %v", err)
		}
		s.checkWaiting()
	})
}

// A full broker says so, and stores nothing.
func TestEnqueueAtomicOnAFullBroker(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		s.fillStore(4<<10, 8<<10)
		err := s.store.EnqueueAtomic(s.ctx, s.batchOf("a", "b", "c", "d"))
		if _, full := errors.AsType[*FullError](err); !full {
			t.Errorf("enqueue: %v", err)
		}
		s.checkWaiting("filler")
	})
}

// fillStore starts the broker with little room, and stores a job that takes some of it.
func (s *scene) fillStore(room int64, used int) {
	s.t.Helper()
	s.server.Stop()
	s.server.MaxStore = room
	s.server.Start(s.t)
	r := s.record("filler")
	r.Payload = make([]byte, used)
	if err := s.store.Enqueue(s.ctx, enqueueOf(r, true, 0)); err != nil {
		s.t.Fatal(err)
	}
}

// A broker that runs out of room in the middle leaves the first jobs there. It says that the last one
// does not fit, or nothing at all. The others are stored once there is room; else the error does not
// say that nothing is stored.
func TestEnqueueAtomicRunsOutOfRoomInTheMiddle(t *testing.T) {
	for _, tt := range []struct{ room, last bool }{{true, false}, {false, false}, {true, true}, {false, true}} {
		t.Run(fmt.Sprintf("%+v", tt), func(t *testing.T) {
			inScene(t, func(t *testing.T, s *scene) {
				s.fillStore(64<<10, 4<<10)
				batch := s.batchOf("a", "b", "c", "d", "e")
				if tt.last {
					batch = batch[:4]
				}
				for _, e := range batch {
					e.Record.Payload = make([]byte, 25<<10)
				}
				result := make(chan error)
				go func() { result <- s.store.EnqueueAtomic(s.ctx, batch) }()
				s.sleep(time.Second)
				s.checkWaiting("filler", "a", "b", "c")
				if !tt.room {
					err := <-result
					if part, _ := errors.AsType[*PartError](err); part == nil || part.Stored != 3 || part.Jobs != len(batch) {
						t.Errorf("enqueue: %v", err)
					}
					s.checkWaiting("filler", "a", "b", "c")
					return
				}
				s.server.Stop()
				s.server.MaxStore = 0
				s.server.Start(t)
				if err := <-result; err != nil {
					t.Errorf("enqueue: %v", err)
				}
				s.checkWaiting(append([]string{"filler"}, []string{"a", "b", "c", "d", "e"}[:len(batch)]...)...)
			})
		})
	}
}
