package millhand_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
)

// A handler that works in place on what it was given changes no later attempt and no record.
func TestHandlersCannotReachTheJob(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		var saw []string
		mux := millhand.NewMux()
		mux.HandleFunc("decrypt", func(_ context.Context, j *millhand.Job[millhand.Raw]) ([]byte, error) {
			saw = append(saw, string(j.Args.Payload)+" "+j.Meta["tenant"])
			for i := range j.Args.Payload {
				j.Args.Payload[i]++
			}
			j.Meta["tenant"] = "other"
			j.Meta["trace id"] = "a key that no header has"
			return nil, errors.New("boom")
		})
		nc := s.Connect(t)
		start(t, nc, millhand.WorkerConfig{Mux: mux})
		c := client(t, s.Connect(t))
		ref, err := c.Enqueue(t.Context(), millhand.Raw{Name: "decrypt", Payload: []byte("hello")},
			millhand.WithMaxAttempts(3), millhand.WithMeta("tenant", "acme"))
		if err != nil {
			t.Fatal(err)
		}
		info, err := c.Await(t.Context(), ref)
		if !errors.Is(err, millhand.ErrFailed) || info.Attempt != 3 {
			t.Errorf("Await = %+v, %v", info, err)
		}
		if got := strings.Join(saw, ", "); got != "hello acme, hello acme, hello acme" {
			t.Errorf("the attempts saw %s", got)
		}
		dead := openStream(t, jetStream(t, nc), "millhand-dead")
		time.Sleep(time.Second)
		m, err := dead.GetLastMsgForSubject(t.Context(), "millhand.dead.default.decrypt."+ref.ID)
		if err != nil || string(m.Data) != "hello" || m.Header.Get("Millhand-Meta-tenant") != "acme" {
			t.Errorf("dead record %+v, %v", m, err)
		}
	})
}

// One that was given up and goes on writing harms nobody: the job's end is written meanwhile.
func TestHandlerThatWritesAfterItWasGivenUp(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		stop := make(chan struct{})
		ended := make(chan struct{})
		mux := millhand.NewMux()
		mux.HandleFunc("deaf", func(_ context.Context, j *millhand.Job[millhand.Raw]) ([]byte, error) {
			if j.Attempt > 1 {
				return nil, nil
			}
			defer close(ended)
			for n := 0; ; n++ {
				select {
				case <-stop:
					return nil, nil
				default:
				}
				j.Meta["n"] = strings.Repeat("x", n%50)
				j.Args.Payload[0]++
				time.Sleep(time.Microsecond * 500)
			}
		}, millhand.TypeConfig{Timeout: time.Second})
		start(t, s.Connect(t), millhand.WorkerConfig{Mux: mux, MaxAbandoned: 5})
		c := client(t, s.Connect(t))
		ref, err := c.Enqueue(t.Context(), millhand.Raw{Name: "deaf", Payload: []byte("hello")}, millhand.WithMeta("n", "1"))
		if err != nil {
			t.Fatal(err)
		}
		if info, err := c.Await(t.Context(), ref); err != nil || info.Attempt != 2 || info.State != millhand.Succeeded {
			t.Errorf("Await = %+v, %v", info, err)
		}
		close(stop)
		<-ended
	})
}

// Ends that the broker refuses are shown while they wait, and the drain says in bounded time
// what was not written and why.
func TestRefusedEndsAreShown(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		mux := millhand.NewMux()
		mux.HandleFunc("work", func(context.Context, *millhand.Job[millhand.Raw]) ([]byte, error) { return []byte("1"), nil })
		w, err := millhand.NewWorker(s.Connect(t), millhand.WorkerConfig{Mux: mux, Config: millhand.Config{Logger: testLog(t)}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- w.Run(ctx) }()
		c := client(t, s.Connect(t))
		first, err := c.Enqueue(ctx, millhand.Raw{Name: "work"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Await(ctx, first); err != nil {
			t.Fatal(err)
		}
		if h := w.Health(); h.Refused != nil {
			t.Errorf("refused: %+v", h.Refused)
		}
		fill(t, s.Connect(t), "millhand-events")
		ref, err := c.Enqueue(ctx, millhand.Raw{Name: "work"})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(15 * time.Second)
		h := w.Health()
		if h.Refused == nil || h.Refused.Jobs != 1 || h.Unsettled != 1 || !strings.Contains(h.Refused.What, ref.ID) ||
			!strings.Contains(h.Refused.Reason, "maximum messages exceeded") || h.Refused.Since.IsZero() {
			t.Errorf("health: unsettled %d, refused %+v", h.Unsettled, h.Refused)
		}
		began := time.Now()
		cancel()
		err = <-ended
		if took := time.Since(began); took > 20*time.Second {
			t.Errorf("drained after %v", took)
		}
		if err == nil || !strings.Contains(err.Error(), ref.ID) || !strings.Contains(err.Error(), "maximum messages exceeded") {
			t.Errorf("Run = %v", err)
		}
	})
}

// fill lets a stream take no message more.
func fill(t *testing.T, nc *nats.Conn, name string) {
	t.Helper()
	js := jetStream(t, nc)
	st := openStream(t, js, name)
	cfg := st.CachedInfo().Config
	cfg.MaxMsgs, cfg.Discard = 1, jetstream.DiscardNew
	if _, err := js.UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
}
