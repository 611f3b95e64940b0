package queue

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand/internal/cron"
)

// hint tells all workers something about the entry e.
func (s *cronScene) hint(h cronHint) {
	s.t.Helper()
	h.Entry, h.Queue = "e", testQueue
	body, err := json.Marshal(h)
	if err != nil {
		s.t.Fatal(err)
	}
	s.tell(body)
}

func (s *cronScene) tell(hint []byte) {
	s.t.Helper()
	if err := s.store.nc.Publish(s.store.names.cronHints(), hint); err != nil {
		s.t.Fatal(err)
	}
}

// checkEach fails unless each tick up to now, but for the last one if that has just come, is ready,
// once.
func (s *cronScene) checkEach(e Cron, what string) {
	s.t.Helper()
	until := time.Now().Add(-dueSpread - maxLead)
	ran := make(map[time.Time]int)
	for _, tick := range s.ready() {
		ran[tick.UTC()]++
	}
	for _, tick := range want(e, e.Edited, until) {
		if ran[tick] != 1 {
			s.t.Errorf("%s: the tick %v after the edit has %d jobs", what, tick.Sub(e.Edited), ran[tick])
		}
	}
}

// What somebody says who has published nothing keeps no tick from coming.
func TestAForgedHintKeepsNoTickFromComing(t *testing.T) {
	far := time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)
	forgeries := map[string]func(e Cron) cron.Cursor{
		"a tick far ahead":        func(e Cron) cron.Cursor { return cron.Cursor{Rev: e.Rev, Last: far} },
		"the next tick":           func(e Cron) cron.Cursor { return cron.Cursor{Rev: e.Rev, Last: e.Schedule.Next(time.Now())} },
		"of an edit to come":      func(Cron) cron.Cursor { return cron.Cursor{Rev: noRev, Last: far} },
		"of an edit that was":     func(Cron) cron.Cursor { return cron.Cursor{Last: far} },
		"nothing":                 func(Cron) cron.Cursor { return cron.Cursor{} },
		"that it is at the begin": func(e Cron) cron.Cursor { return cron.Cursor{Rev: e.Rev, Last: e.Edited} },
	}
	for _, period := range []time.Duration{time.Second, time.Minute, 20 * time.Minute} {
		inCronScene(t, func(s *cronScene) {
			s.ticker("a")
			s.ticker("b")
			e := s.put(s.entry("@every "+period.String(), cron.AllowOverlap, cron.CatchUpOne))
			for what, forge := range forgeries {
				time.Sleep(period / 2)
				s.hint(cronHint{Seq: noRev, Cursor: forge(e)})
				s.tell([]byte(`{"entry":"e"`))
				time.Sleep(2 * period)
				s.checkEach(e, what)
			}
		})
	}
}

// Hints without end keep nobody from a tick.
func TestAFloodOfHintsKeepsNoTickFromComing(t *testing.T) {
	inCronScene(t, func(s *cronScene) {
		s.ticker("a")
		e := s.put(s.entry("@every 5s", cron.AllowOverlap, cron.CatchUpOne))
		far := time.Now().Add(24 * time.Hour)
		for i := range uint64(300) {
			s.hint(cronHint{Seq: noRev - 300 + i, Cursor: cron.Cursor{Rev: e.Rev, Last: far}})
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(10 * time.Second)
		s.checkEach(e, "a flood")
	})
}

// A cursor that nobody can have written, or cannot be read, or is of an edit that the registry does not have
// since it was restored, keeps no tick from coming, and no tick comes twice.
func TestADamagedCursorKeepsNoTickFromComing(t *testing.T) {
	damages := map[string]func(e Cron, there []byte) []byte{
		"years ahead": func(e Cron, _ []byte) []byte {
			return cursorText(cron.Cursor{Rev: e.Rev, Last: time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)})
		},
		"of an edit to come": func(_ Cron, there []byte) []byte { return withRev(there, 1<<50) },
		"years ahead of both": func(Cron, []byte) []byte {
			return cursorText(cron.Cursor{Rev: 1 << 50, Last: time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)})
		},
		"no JSON": func(_ Cron, there []byte) []byte { return there[:len(there)/2] },
		"empty":   func(Cron, []byte) []byte { return nil },
	}
	for _, overlap := range []cron.Overlap{cron.AllowOverlap, cron.SkipOverlap} {
		inCronScene(t, func(s *cronScene) {
			a := s.ticker("a")
			e := s.put(s.entry("@every 20s", overlap, cron.CatchUpOne))
			ran := make(map[time.Time]int)
			for what, damage := range damages {
				s.sleepTaking(50*time.Second, ran)
				a.stop() // or it goes on by what it knows
				s.damage(func(cursor []byte) []byte { return damage(e, cursor) })
				a = s.ticker("again")
				s.sleepTaking(50*time.Second, ran)
				for _, tick := range want(e, e.Edited, time.Now().Add(-time.Second)) {
					if ran[tick] != 1 {
						s.t.Fatalf("%s, %s: the tick %v after the edit has %d jobs", overlap, what, tick.Sub(e.Edited), ran[tick])
					}
				}
			}
		})
	}
}

// damage writes another cursor.
func (s *cronScene) damage(edit func(cursor []byte) []byte) {
	s.t.Helper()
	subject := s.store.names.cron(queueName(), cronName("e"))
	there, err := s.store.client.Last(s.ctx, s.store.names.queueStream(queueName()), subject)
	if err != nil {
		s.t.Fatal(err)
	}
	m := &nats.Msg{Subject: subject, Header: nats.Header{"Nats-Rollup": {"sub"}}, Data: edit(there.Data)}
	if _, err := s.store.client.Publish(s.ctx, m); err != nil {
		s.t.Fatal(err)
	}
}

// sleepTaking takes what is ready, several times a minute.
func (s *cronScene) sleepTaking(d time.Duration, ran map[time.Time]int) {
	for until := time.Now().Add(d); time.Now().Before(until); {
		time.Sleep(5 * time.Second)
		s.take(ran)
	}
}

func cursorText(c cron.Cursor) []byte {
	body, err := json.Marshal(c)
	if err != nil {
		panic(err)
	}
	return body
}

func withRev(cursor []byte, rev uint64) []byte {
	var c cron.Cursor
	if err := json.Unmarshal(cursor, &c); err != nil {
		panic(err)
	}
	c.Rev = rev
	return cursorText(c)
}
