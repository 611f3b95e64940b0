package audit_test

import (
	"context"
	"testing"
	"time"

	"github.com/millhand/millhand/internal/audit"
	"github.com/millhand/millhand/internal/natstest"
	"github.com/millhand/millhand/internal/stream"
)

// Records are kept for 90 days, also where nobody has made the stream, and the last one of an operation
// stands for it.
func TestAudit(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		log := natstest.Logger(t.Output())
		js, err := stream.New(s.Connect(t), stream.Config{Logger: log})
		if err != nil {
			t.Fatal(err)
		}
		l := audit.New(js)
		read := func(since time.Time) (all []audit.Record) {
			t.Helper()
			for r, err := range l.Since(t.Context(), since) {
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, r)
			}
			return all
		}
		if all := read(time.Time{}); len(all) != 0 {
			t.Errorf("before the first: %+v", all)
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel() // what was done is kept, though whoever did it is about to end
		op := audit.NewOp()
		for _, r := range []audit.Record{
			{By: "oncall (cli)", Action: audit.Retry, Filter: "state:dead type:email", Count: 1204, Outcome: audit.Begun, Op: op},
			{By: "ann", From: "desk", Action: audit.Pause, Ref: "default/import", Count: 1, Outcome: audit.Done},
			{By: "oncall (cli)", Action: audit.Retry, Filter: "state:dead type:email", Count: 1201, Outcome: audit.Done, Refused: map[string]int{"alive": 3}, Op: op},
		} {
			if err := l.Write(ended, r); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Hour)
		}
		all := read(time.Time{})
		if len(all) != 2 || all[0].By != "ann" || all[0].Ref != "default/import" || all[0].From != "desk" || all[1].Count != 1201 || all[1].Refused["alive"] != 3 || all[1].Outcome != audit.Done {
			t.Errorf("%+v", all)
		}
		if all := read(time.Now().Add(-90 * time.Minute)); len(all) != 1 || all[0].Action != audit.Retry {
			t.Errorf("of the last hours: %+v", all)
		}
		m, err := js.Get(t.Context(), "millhand-stats", 1)
		if err != nil || m.Header.Get("Nats-TTL") != "2160h0m0s" || m.Subject != "millhand.stats.audit.retry" {
			t.Errorf("as it is stored: %+v, %v", m, err)
		}
	})
}

// A record is there for 90 days.
func TestAuditIsKept(t *testing.T) {
	dir := t.TempDir()
	begin := time.Date(2000, time.January, 1, 0, 0, 0, 0, time.UTC)
	for _, day := range []int{0, 89, 91} {
		natstest.BubbleOn(t, dir, begin.AddDate(0, 0, day), func(t *testing.T, s *natstest.Server) {
			js, err := stream.New(s.Connect(t), stream.Config{Logger: natstest.Logger(t.Output())})
			if err != nil {
				t.Fatal(err)
			}
			l := audit.New(js)
			if day == 0 {
				if err := l.Write(t.Context(), audit.Record{By: "ann", Action: audit.Pause, Outcome: audit.Done}); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(time.Minute)
			n := 0
			for _, err := range l.Since(t.Context(), time.Time{}) {
				if err != nil {
					t.Fatal(err)
				}
				n++
			}
			if is := n == 1; is != (day < 90) {
				t.Errorf("after %d days: %d records", day, n)
			}
		})
	}
}
