package queue

import (
	"testing"

	"github.com/millhand/millhand/internal/job"
)

// A job that had ended before it came leaves an event of that, unless there is one.
func TestJobThatHadEnded(t *testing.T) {
	inScene(t, func(t *testing.T, s *scene) {
		r := s.enqueue("a")
		n := s.node("n")
		late := Outcome{Ended: true, Kind: job.EventCancelled, Reason: job.ReasonSuperseded}
		if err := n.settle(n.pull(), late); err != nil {
			t.Fatal(err)
		}
		s.checkEnded(r.Life)
		s.publish("a", r.Header(), "{}") // once more, and late
		late.Kind = job.EventSucceeded
		if err := n.settle(n.pull(), late); err != nil {
			t.Fatal(err)
		}
		s.checkEnded(r.Life)
		if got := s.kinds(r.Life); got != "cancelled" {
			t.Errorf("events: %s", got)
		}
	})
}
