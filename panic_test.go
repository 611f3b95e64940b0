package millhand_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
)

// A handler that panics ends its own attempt. The jobs beside it run on.
func TestPanicTouchesNoOtherJob(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		mux := millhand.NewMux()
		mux.HandleFunc("steady", func(ctx context.Context, _ *millhand.Job[millhand.Raw]) ([]byte, error) {
			select {
			case <-time.After(10 * time.Second):
				return nil, nil
			case <-ctx.Done():
				return nil, millhand.Permanent(context.Cause(ctx))
			}
		})
		mux.HandleFunc("wild", func(context.Context, *millhand.Job[millhand.Raw]) ([]byte, error) {
			<-time.After(time.Second)
			panic("wild")
		}, millhand.TypeConfig{MaxAttempts: 1})
		w, _ := start(t, s.Connect(t), millhand.WorkerConfig{Mux: mux, Concurrency: 20})
		c := client(t, s.Connect(t))
		var steady, wild []millhand.Ref
		for range 10 {
			for name, refs := range map[string]*[]millhand.Ref{"steady": &steady, "wild": &wild} {
				ref, err := c.Enqueue(t.Context(), millhand.Raw{Name: name})
				if err != nil {
					t.Fatal(err)
				}
				*refs = append(*refs, ref)
			}
		}
		for _, ref := range wild {
			info, err := c.Await(t.Context(), ref)
			if failed, ok := errors.AsType[*millhand.FailedError](err); !ok || !strings.Contains(failed.Message, "panic: wild") {
				t.Errorf("Await of one that panics: %v", err)
			} else if !strings.Contains(info.Failures[0].Stack, "TestPanicTouchesNoOtherJob") {
				t.Errorf("stack = %s", info.Failures[0].Stack)
			}
		}
		for _, ref := range steady {
			if info, err := c.Await(t.Context(), ref); err != nil || info.Attempt != 1 || info.Crashes != 0 {
				t.Errorf("Await beside it = attempt %d, %d crashes, %v", info.Attempt, info.Crashes, err)
			}
		}
		var check func(millhand.TreeNode)
		check = func(p millhand.TreeNode) {
			if p.Restarts > 0 {
				t.Errorf("%s was restarted: %s", p.Name, p.LastError)
			}
			for _, c := range p.Children {
				check(c)
			}
		}
		check(w.Health().Tree)
	})
}
