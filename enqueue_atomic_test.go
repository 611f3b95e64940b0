package millhand_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
)

// requests are jobs of one type with these ids.
func requests(ids ...string) []millhand.Request {
	batch := make([]millhand.Request, len(ids))
	for i, id := range ids {
		batch[i] = millhand.Request{Args: email{To: id}, Options: []millhand.EnqueueOption{millhand.WithID(id)}}
	}
	return batch
}

// waitingIDs returns the ids that wait in the default queue, in order.
func waitingIDs(t *testing.T, nc *nats.Conn) (ids []string) {
	t.Helper()
	c := client(t, nc)
	for _, id := range []string{"a", "b", "c", "d"} {
		_, err := c.Get(t.Context(), millhand.Ref{ID: id, Type: "email", Queue: "default"})
		if err == nil {
			ids = append(ids, id)
		} else if !errors.Is(err, millhand.ErrNotFound) {
			t.Fatal(err)
		}
	}
	return ids
}

func TestEnqueueAtomic(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		c := client(t, s.Connect(t))
		refs, err := c.EnqueueAtomic(t.Context(), requests("a", "b"))
		if err != nil || len(refs) != 2 || refs[1].ID != "b" || refs[1].Life == "" {
			t.Fatalf("EnqueueAtomic = %v, %v", refs, err)
		}
		if err := c.SetQuota(t.Context(), millhand.Quota{Type: "email", Limit: 3}); err != nil {
			t.Fatal(err)
		}
		below := requests("c", "d")
		for i := range below {
			below[i].Options = append(below[i].Options, millhand.WithRejectAtQuota())
		}
		for _, tt := range []struct {
			name  string
			batch []millhand.Request
			is    error
			index int // negative: no job is named
		}{
			{"taken", requests("c", "a"), millhand.ErrDuplicate, 1},
			{"twice", requests("c", "d", "c"), millhand.ErrInvalid, 2},
			{"at the quota", below, millhand.ErrQuotaReached, 1},
			{"invalid", requests("c", "no dots.please"), millhand.ErrInvalid, 1},
			{"nil", []millhand.Request{{}}, millhand.ErrInvalid, 0},
			{"none", nil, millhand.ErrInvalid, -1},
		} {
			refs, err := c.EnqueueAtomic(t.Context(), tt.batch)
			named, ok := errors.AsType[*millhand.AtomicError](err)
			if refs != nil || !errors.Is(err, tt.is) || ok != (tt.index >= 0) || ok && named.Index != tt.index || millhand.MaybeStored(err) {
				t.Errorf("%s: EnqueueAtomic = %v, %v", tt.name, refs, err)
			}
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := c.EnqueueAtomic(ended, requests("c", "d")); !errors.Is(err, millhand.ErrNotSent) {
			t.Errorf("with an ended context: %v", err)
		}
		if got := waitingIDs(t, s.Connect(t)); !slices.Equal(got, []string{"a", "b"}) {
			t.Errorf("%q are stored", got)
		}
	})
}

// A broker that runs out of room in the middle has a part of the jobs, and the error does not say that
// it has none.
func TestEnqueueAtomicThatIsStoredInPart(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		c := client(t, s.Connect(t))
		if _, err := c.Enqueue(t.Context(), email{}); err != nil { // which makes the streams
			t.Fatal(err)
		}
		js := jetStream(t, s.Connect(t))
		account, err := js.AccountInfo(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		s.Stop()
		s.MaxStore = int64(account.Store) + 64<<10 //nolint:gosec // less than a disk has
		s.Start(t)
		batch := requests("a", "b", "c", "d")
		for i := range batch {
			batch[i].Args = millhand.Raw{Name: "email", Payload: make([]byte, 30<<10)}
		}
		_, err = c.EnqueueAtomic(t.Context(), batch)
		if !millhand.MaybeStored(err) || errors.Is(err, millhand.ErrStoreFull) || !strings.Contains(err.Error(), "the broker stored 3 of 4 jobs") {
			t.Errorf("EnqueueAtomic = %v", err)
		}
		if got := waitingIDs(t, s.Connect(t)); !slices.Equal(got, []string{"a", "b", "c"}) {
			t.Errorf("%q are stored", got)
		}
	})
}

// Middleware comes with all jobs of an atomic enqueue and has to pass on all, in any order; what it
// changes is stored, and it is told of each job what became of it.
func TestEnqueueAtomicThroughMiddleware(t *testing.T) {
	veto := errors.New("not today")
	pass := func(next millhand.EnqueueFunc) millhand.EnqueueFunc { return next }
	change := func(f func(jobs []*millhand.Draft) []*millhand.Draft) millhand.EnqueueMiddleware {
		return func(next millhand.EnqueueFunc) millhand.EnqueueFunc {
			return func(ctx context.Context, jobs []*millhand.Draft) error { return next(ctx, f(jobs)) }
		}
	}
	for _, tt := range []struct {
		name       string
		middleware millhand.EnqueueMiddleware
		want       string // of the error
		index      int    // of the AtomicError; negative: none
		stored     []string
	}{
		{"passes", pass, "", -1, []string{"a", "b", "c"}},
		{"reverses", change(func(jobs []*millhand.Draft) []*millhand.Draft {
			jobs = slices.Clone(jobs)
			slices.Reverse(jobs)
			return jobs
		}), "", -1, []string{"a", "b", "c"}},
		{"renames", change(func(jobs []*millhand.Draft) []*millhand.Draft {
			jobs[1].ID = "d"
			return jobs
		}), "", -1, []string{"a", "c", "d"}},
		{"renames to another one's", change(func(jobs []*millhand.Draft) []*millhand.Draft {
			jobs[2].ID = "a"
			return jobs
		}), `id "a": must not be that of job 0 of the batch`, 2, nil},
		{"breaks a rule", change(func(jobs []*millhand.Draft) []*millhand.Draft {
			jobs[0], jobs[1] = jobs[1], jobs[0]
			jobs[0].ID = "no dots.please"
			return jobs
		}), "only A-Z", 1, nil},
		{"drops one", change(func(jobs []*millhand.Draft) []*millhand.Draft { return jobs[1:] }), "must be all 3", -1, nil},
		{"doubles one", change(func(jobs []*millhand.Draft) []*millhand.Draft { return append(slices.Clone(jobs), jobs[0]) }), "must be all 3", -1, nil},
		{"adds its own", change(func(jobs []*millhand.Draft) []*millhand.Draft { return append(slices.Clone(jobs), &millhand.Draft{}) }), "must be those of one", -1, nil},
		{"refuses", func(millhand.EnqueueFunc) millhand.EnqueueFunc {
			return func(context.Context, []*millhand.Draft) error { return veto }
		}, "not today", -1, nil},
		{"refuses one", func(millhand.EnqueueFunc) millhand.EnqueueFunc {
			return func(context.Context, []*millhand.Draft) error {
				return &millhand.BatchError{Errs: []error{nil, veto, nil}}
			}
		}, "not today", 1, nil},
		{"keeps all", func(millhand.EnqueueFunc) millhand.EnqueueFunc {
			return func(context.Context, []*millhand.Draft) error { return nil }
		}, "a middleware kept the job", 0, nil},
		{"tries twice", func(next millhand.EnqueueFunc) millhand.EnqueueFunc {
			return func(ctx context.Context, jobs []*millhand.Draft) error {
				return errors.Join(next(ctx, jobs), next(ctx, jobs))
			}
		}, "", -1, []string{"a", "b", "c"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
				c := client(t, s.Connect(t))
				c.Use(tt.middleware)
				_, err := c.EnqueueAtomic(t.Context(), requests("a", "b", "c"))
				named, ok := errors.AsType[*millhand.AtomicError](err)
				switch {
				case (err == nil) != (tt.want == ""), err != nil && !strings.Contains(err.Error(), tt.want):
					t.Errorf("EnqueueAtomic = %v, want %q", err, tt.want)
				case ok != (tt.index >= 0), ok && named.Index != tt.index:
					t.Errorf("EnqueueAtomic = %v, want index %d", err, tt.index)
				}
				if got := waitingIDs(t, s.Connect(t)); !slices.Equal(got, tt.stored) {
					t.Errorf("%q are stored, want %q", got, tt.stored)
				}
			})
		})
	}
}

// A middleware learns which job was refused, and that the others were not sent because of it.
func TestEnqueueMiddlewareSeesWhichJobWasInTheWay(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		c := client(t, s.Connect(t))
		var errs []error
		c.Use(func(next millhand.EnqueueFunc) millhand.EnqueueFunc {
			return func(ctx context.Context, jobs []*millhand.Draft) error {
				err := next(ctx, jobs)
				if batch, ok := errors.AsType[*millhand.BatchError](err); ok {
					errs = batch.Errs
				}
				return err
			}
		})
		if _, err := c.Enqueue(t.Context(), email{}, millhand.WithID("b")); err != nil {
			t.Fatal(err)
		}
		_, err := c.EnqueueAtomic(t.Context(), requests("a", "b", "c"))
		if named, _ := errors.AsType[*millhand.AtomicError](err); named == nil || named.Index != 1 {
			t.Errorf("EnqueueAtomic = %v", err)
		}
		if len(errs) != 3 || !errors.Is(errs[1], millhand.ErrDuplicate) {
			t.Fatalf("the middleware saw %v", errs)
		}
		for _, i := range []int{0, 2} {
			if !errors.Is(errs[i], millhand.ErrNotSent) || errors.Is(errs[i], millhand.ErrDuplicate) {
				t.Errorf("of job %d it saw %v", i, errs[i])
			}
		}
	})
}
