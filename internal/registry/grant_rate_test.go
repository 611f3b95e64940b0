package registry

import (
	"log/slog"
	"testing"
	"time"

	"github.com/millhand/millhand/internal/stream"
)

// A broker that is away for longer than a grant does not cost a rate its period: what is left
// of it is used soon after, and no more.
func TestRateGoesOnAfterAnOutage(t *testing.T) {
	inScene(t, func(s *scene) {
		s.limit(mails, 100, time.Hour)
		n := s.node("a", nodeConfig{concurrency: 1, types: []string{"email"}, jobs: time.Second, look: 50 * time.Millisecond})
		starts := func() int {
			n.mu.Lock()
			defer n.mu.Unlock()
			return n.serial
		}
		time.Sleep(3 * time.Second)
		s.server.Stop()
		time.Sleep(12 * time.Second)
		s.server.Start(s.t)
		before := starts()
		time.Sleep(10 * time.Second)
		if got := starts(); got < before+3 {
			s.t.Errorf("%d starts before an outage, %d in the 10 s after it", before, got-before)
		}
		time.Sleep(5 * time.Minute)
		if got := starts(); got != 100 { // the observer sees to it that it is not more
			s.t.Errorf("%d starts, want 100", got)
		}
	})
}

// A read that brings a rate's new number cannot bring its period.
func TestRateOfAnotherPeriodWaitsForTheWatch(t *testing.T) {
	tests := []struct {
		name     string
		old, set Limit
		want     int
	}{
		{"the same period", Limit{Jobs: 5, Per: time.Second}, Limit{Jobs: 300, Per: time.Second}, 300},
		{"a longer one", Limit{Jobs: 5, Per: time.Second}, Limit{Jobs: 300, Per: time.Minute}, 5},
		{"a shorter one", Limit{Jobs: 300, Per: time.Minute}, Limit{Jobs: 5, Per: time.Second}, 5},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := &holder{key: mails, node: "x", limit: knownLimit{Limit: tt.old, rev: 1}, log: slog.New(slog.DiscardHandler)}
			h.interpret([]stream.Entry{{Key: limitKey(mails), Value: encodeLimit(tt.set, ByPerson, ""), Rev: 2}})
			if want := (Limit{Jobs: tt.want, Per: tt.old.Per}); h.limit.Limit != want {
				t.Errorf("%+v became %+v by a read of %+v, want %+v", tt.old, h.limit.Limit, tt.set, want)
			}
		})
	}
}

// A limit that is no limit is not taken for one by whoever reads it first.
func TestReadLeavesALimitThatCannotBeRead(t *testing.T) {
	for _, value := range []string{"5", `{"limit":9000000}`, `{"limit":9,"per":"1m"}`, `{"limit":-1}`, `{"limit":9,"per":"x"}`} {
		h := &holder{key: imports, limit: knownLimit{Limit: Limit{Jobs: 3}, rev: 1}}
		h.interpret([]stream.Entry{{Key: limitKey(imports), Value: []byte(value), Rev: 2}})
		if h.limit.Jobs != 3 {
			t.Errorf("%s is taken for %d jobs", value, h.limit.Jobs)
		}
	}
}
