package millhand_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
)

func TestCancelOfAJobInABatch(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		d := newDepot(t, s)
		var causes causes
		d.work(millhand.WorkerConfig{Concurrency: 2}, millhand.BatchConfig[parcel]{Size: 4, Wait: 5 * time.Second},
			func(ctx context.Context, b *millhand.JobBatch[parcel]) error {
				timer := time.NewTimer(10 * time.Second)
				defer timer.Stop()
				select {
				case <-timer.C:
				case <-ctx.Done():
					causes.add(context.Cause(ctx))
					return ctx.Err()
				}
				for _, j := range b.Jobs {
					if j.Args.Town == "bad" {
						b.Fail(j, errors.New("no such street"))
					}
				}
				return nil
			})
		cancel := func(r millhand.Ref) millhand.Cancellation {
			t.Helper()
			done, err := d.client.Cancel(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			return done
		}
		waits := d.enqueue("waits", parcel{})
		time.Sleep(time.Second)
		cancel(waits)
		refs := []millhand.Ref{d.enqueue("a", parcel{}), d.enqueue("b", parcel{Town: "bad"}), d.enqueue("c", parcel{})}
		time.Sleep(6 * time.Second)
		if got := d.ids(); got != "a b c" {
			t.Fatalf("called for %s", got)
		}
		d.want(waits, "cancelled 0 requested")
		for _, r := range refs[:2] {
			if done := cancel(r); done.Worker == "" || !done.Batch {
				t.Errorf("cancelled %+v, want it to run in a batch", done)
			}
		}
		time.Sleep(10 * time.Second)
		d.want(refs[0], "succeeded 1") // as the handler says
		d.want(refs[1], "cancelled 1 requested")
		d.want(refs[2], "succeeded 1")
		if told := causes.list(); len(told) > 0 {
			t.Errorf("the call was told to end: %v", told)
		}
		alone := d.enqueue("alone", parcel{})
		time.Sleep(6 * time.Second)
		if done := cancel(alone); done.Worker == "" || done.Batch {
			t.Errorf("cancelled %+v, want it to run by itself", done)
		}
		time.Sleep(time.Second)
		d.want(alone, "cancelled 1 requested")
		if told := causes.list(); len(told) != 1 || !errors.Is(told[0], millhand.ErrCancelled) {
			t.Errorf("the call of one job was told %v", told)
		}
	})
}

// A job whose lease is lost leaves the others alone, and its end is not kept.
func TestLeaseLostInABatch(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		d := newDepot(t, s)
		refs := d.enqueueMany(3)
		m, err := openStream(t, jetStream(t, s.Connect(t)), "millhand-queue-default").GetLastMsgForSubject(t.Context(), "millhand.default.ready.parcel.p001")
		if err != nil {
			t.Fatal(err)
		}
		acks := fmt.Sprintf("$JS.ACK.millhand-queue-default.parcel.1.%d.", m.Sequence)
		link := s.Link()
		link.Watch(func(subject string) natstest.Fate {
			if strings.HasPrefix(subject, acks) {
				return natstest.Lost
			}
			return natstest.Pass
		})
		mux := millhand.NewMux()
		var mu sync.Mutex
		lost := make(map[string]error)
		calls := 0
		millhand.HandleBatch(mux, millhand.BatchConfig[parcel]{Size: 3}, func(ctx context.Context, b *millhand.JobBatch[parcel]) error {
			mu.Lock()
			calls++
			first := calls == 1
			mu.Unlock()
			if !first {
				return nil
			}
			timer := time.NewTimer(20 * time.Second)
			defer timer.Stop()
			select {
			case <-timer.C:
			case <-ctx.Done():
				t.Errorf("the call was told to end: %v", context.Cause(ctx))
			}
			mu.Lock()
			defer mu.Unlock()
			for _, j := range b.Jobs {
				lost[j.ID] = b.Lost(j)
			}
			return nil
		})
		start(t, link.Connect(t), millhand.WorkerConfig{Mux: mux, AckWait: 10 * time.Second, Concurrency: 1})
		time.Sleep(time.Minute)
		mu.Lock()
		defer mu.Unlock()
		for id, err := range lost {
			if (id == "p001") != errors.Is(err, millhand.ErrLeaseLost) {
				t.Errorf("%s: %v", id, err)
			}
		}
		if len(lost) != 3 {
			t.Errorf("asked of %v", lost)
		}
		d.want(refs[0], "succeeded 1")
		d.want(refs[2], "succeeded 1")
		i, err := d.client.Get(t.Context(), refs[1])
		if err != nil || i.State != millhand.Succeeded || i.Crashes != 1 {
			t.Errorf("the lost one is %v with %d crashes: %v", i.State, i.Crashes, err)
		}
	})
}

// A slowParcel takes a while to be decoded, and cannot be.
type slowParcel struct{}

func (slowParcel) Type() string { return "slow_parcel" }

func (*slowParcel) UnmarshalJSON([]byte) error {
	time.Sleep(2 * time.Second)
	return errBroken
}

var errBroken = errors.New("broken")

// Jobs that are all cancelled while their call is being made ready end once, and give back what they have.
func TestCancelBeforeTheCall(t *testing.T) {
	for _, grace := range []time.Duration{time.Second, 10 * time.Second} {
		t.Run(grace.String(), func(t *testing.T) {
			natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
				d := newDepot(t, s)
				mux := millhand.NewMux()
				millhand.HandleBatch(mux, millhand.BatchConfig[slowParcel]{Size: 2}, func(context.Context, *millhand.JobBatch[slowParcel]) error {
					return nil
				})
				_, stop := start(t, s.Connect(t), millhand.WorkerConfig{Mux: mux, Concurrency: 1})
				var refs []millhand.Ref
				for range 2 {
					ref, err := d.client.Enqueue(t.Context(), slowParcel{})
					if err != nil {
						t.Fatal(err)
					}
					refs = append(refs, ref)
				}
				time.Sleep(time.Second)
				for _, ref := range refs {
					if _, err := d.client.Cancel(t.Context(), ref, millhand.WithGrace(grace)); err != nil {
						t.Error(err)
					}
				}
				time.Sleep(30 * time.Second)
				for _, ref := range refs {
					d.want(ref, "cancelled 1 requested")
				}
				if err := stop(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}
