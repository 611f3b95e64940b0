package arrival

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/natstest"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/stream"
	"github.com/millhand/millhand/internal/workflow"
)

// bench is where tests start workflows: nobody works at them.
type bench struct {
	*Store
	link   *natstest.Link
	others *stream.Client // the test's own
}

// noRegistry has nobody to tell.
type noRegistry struct{ queue.ManyOrders }

func (noRegistry) UseWorkflows(context.Context, string) error { return nil }

func newBench(t *testing.T, server *natstest.Server) *bench {
	t.Helper()
	log := natstest.Logger(natstest.Output(t))
	open := func(nc *nats.Conn) *stream.Client {
		c, err := stream.New(nc, stream.Config{Logger: log})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	link := server.Link()
	c := open(link.Connect(t))
	return &bench{Store: New(c, queue.NewStore(c, queue.Config{Logger: log}), noRegistry{}, log), link: link, others: open(server.Connect(t))}
}

// contend has others write again what is there, each time before the store writes a document, this often.
func (b *bench) contend(t *testing.T, subject string, times int) (tries *int) {
	t.Helper()
	tries = new(int)
	b.link.Watch(func(s string) natstest.Fate {
		if !strings.HasPrefix(s, subject) {
			return natstest.Pass
		}
		if *tries++; *tries > times {
			return natstest.Pass
		}
		m := &nats.Msg{Subject: s, Header: nats.Header{}, Data: []byte("{}")}
		there, err := b.others.Last(t.Context(), b.stream(), s)
		if err == nil {
			m.Data = there.Data
		}
		if _, err := b.others.Publish(t.Context(), m); err != nil {
			t.Error(err)
		}
		return natstest.Pass
	})
	return tries
}

// Whoever writes a document of a workflow while others write it waits longer each time, and gets there once
// they are done.
func TestWritesWaitWhileOthersWrite(t *testing.T) {
	const conflicts = 60
	for what, tt := range map[string]struct {
		subject string
		do      func(b *bench, spec *workflow.Spec) error
	}{
		"the end of a step": {"millhand.workflow.tally.", func(b *bench, spec *workflow.Spec) error {
			return b.Arrive(context.Background(), queue.StepEnd{Record: stepRecord(spec, 1, 0), Kind: job.EventSucceeded})
		}},
		"its result": {"millhand.workflow.out.", func(b *bench, spec *workflow.Spec) error {
			return b.Arrive(context.Background(), queue.StepEnd{Record: stepRecord(spec, 1, 0), Kind: job.EventSucceeded, Result: []byte("1")})
		}},
		"a cancel": {"millhand.workflow.tally.", func(b *bench, spec *workflow.Spec) error {
			return b.cancel(context.Background(), spec.ID, spec.Run, 1, job.ReasonRequested)
		}},
		"growth": {"millhand.workflow.tally.", func(b *bench, spec *workflow.Spec) error {
			return b.Grow(context.Background(), stepRecord(spec, 1, 0), func(*workflow.Spec, int) ([]workflow.Step, error) {
				return []workflow.Step{{Name: "c", Kind: workflow.KindJob, Type: "t", After: []workflow.Condition{{Mode: workflow.AllSucceeded, Of: []int{0}}}}}, nil
			})
		}},
		"a graph": {"millhand.workflow.spec.", func(b *bench, spec *workflow.Spec) error {
			next := *spec
			next.Run = strings.Repeat("1", 32)
			data, err := next.Encode()
			if err != nil {
				return err
			}
			return b.storeSpec(context.Background(), &next, data, replaces(spec.Run))
		}},
	} {
		t.Run(what, func(t *testing.T) {
			natstest.Bubble(t, func(t *testing.T, server *natstest.Server) {
				b := newBench(t, server)
				spec := &workflow.Spec{ID: "w", Run: strings.Repeat("0", 32), Gen: 1, Name: "w", Queue: "default", Steps: []workflow.Step{
					{Name: "a", Kind: workflow.KindSignal},
					{Name: "b", Kind: workflow.KindSignal},
				}}
				if err := b.Start(t.Context(), spec, 0); err != nil {
					t.Fatal(err)
				}
				tries := b.contend(t, tt.subject, conflicts)
				began := time.Now()
				if err := tt.do(b, spec); err != nil {
					t.Fatal(err)
				}
				if took := time.Since(began); *tries != conflicts+1 || took < 20*time.Second || took > 2*time.Minute {
					t.Errorf("%d tries took %v", *tries, took)
				}
			})
		})
	}
}
