package queue

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand/internal/job"
)

// list returns the ids that a filter of the test's queue yields, joined.
func (s *scene) list(f JobFilter) string {
	s.t.Helper()
	f.Queue = queueName()
	var ids []string
	for m, err := range s.store.Jobs(s.ctx, f) {
		if err != nil {
			s.t.Fatalf("list %+v: %v", f, err)
		}
		ids = append(ids, m.ID)
	}
	return strings.Join(ids, " ")
}

func TestListOfJobs(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		if got := s.list(JobFilter{}); got != "" {
			t.Errorf("an empty queue has %s", got)
		}
		n := s.node("n")
		s.enqueue("retrying")
		if err := n.settle(n.pull(), Outcome{Kind: job.EventRetrying, Error: "boom", Delay: time.Hour}); err != nil {
			t.Fatal(err)
		}
		s.enqueueLater("hour", time.Hour+time.Minute)
		s.enqueueLater("minute", time.Minute)
		s.enqueue("ready")
		s.hold("held", "gone", time.Now().Add(time.Hour))
		s.publish(strings.Repeat("x", 200), nil, "") // no job's id
		if _, err := s.store.client.Publish(s.ctx, &nats.Msg{Subject: "millhand.q.ready.other.foreign"}); err != nil {
			t.Fatal(err)
		}
		in := time.Now().Add
		for name, tt := range map[string]struct {
			f    JobFilter
			want string
		}{
			"all":                 {JobFilter{}, "retrying hour minute ready foreign"},
			"of a type":           {JobFilter{Type: testType}, "retrying hour minute ready"},
			"of another":          {JobFilter{Type: "other"}, "foreign"},
			"of none":             {JobFilter{Type: "nothing"}, ""},
			"ready":               {JobFilter{States: []job.State{job.Ready}}, "ready foreign"},
			"running":             {JobFilter{States: []job.State{job.Running}}, "ready foreign"},
			"scheduled":           {JobFilter{States: []job.State{job.Scheduled}}, "hour minute"},
			"retrying":            {JobFilter{States: []job.State{job.Retrying}}, "retrying"},
			"two states":          {JobFilter{States: []job.State{job.Retrying, job.Ready}, Type: testType}, "retrying ready"},
			"scheduled and due":   {JobFilter{States: []job.State{job.Scheduled}, DueBy: in(2 * time.Minute)}, "minute"},
			"due within the hour": {JobFilter{Type: testType, DueBy: in(time.Hour)}, "retrying minute ready"},
		} {
			if got := s.list(tt.f); got != tt.want {
				t.Errorf("%s: %s, want %s", name, got, tt.want)
			}
		}
		other, err := job.QueueName("other")
		if err != nil {
			t.Fatal(err)
		}
		for m, err := range s.store.Jobs(s.ctx, JobFilter{Queue: other}) {
			t.Errorf("a queue that is not there has %+v, %v", m, err)
		}
	})
}

// A long queue is read in pages, and a job that comes after the call is not yielded.
func TestAListEndsWhereItBegan(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		batch := make([]Enqueue, 2500)
		for i := range batch {
			batch[i] = s.delayed(fmt.Sprintf("j%d", i), time.Hour)
		}
		if i := slices.IndexFunc(s.store.EnqueueMany(s.ctx, batch), func(err error) bool { return err != nil }); i >= 0 {
			t.Fatalf("batch[%d] was refused", i)
		}
		n := 0
		for m, err := range s.store.Jobs(s.ctx, JobFilter{Queue: queueName()}) {
			if err != nil || m.ID != fmt.Sprintf("j%d", n) {
				t.Fatalf("yielded %+v, %v, want j%d", m, err, n)
			}
			if n++; n == 1 {
				s.enqueue("late")
			}
		}
		if n != len(batch) {
			t.Errorf("%d jobs, want %d", n, len(batch))
		}
	})
}
