package verify

import (
	"fmt"
	"slices"
	"time"

	"github.com/millhand/millhand/internal/job"
)

const (
	maxCrashes = job.MaxCrashes + 1 // of an event: the last one is the job's death
	eventDead  = job.EventDead
)

func conservationChecks() []Check {
	return []Check{
		{
			ID: "C01", Class: Conservation, needs: []fact{ofWaiting}, judge: noEndedWaits,
			Invariant: "no job that has ended is still in its queue",
			Advice:    "a worker that gets it acknowledges it and runs nothing; if no worker serves the type, start one",
		},
		{
			ID: "C02", Class: Conservation, needs: []fact{ofEvents}, judge: oneEnd,
			Invariant: "a life has one end, and nothing is said of it afterwards",
			Advice:    "see whether another program writes to the events; else this is a fault of Millhand: please report it",
		},
		{
			ID: "C03", Class: Conservation, needs: []fact{ofEvents, ofDead}, judge: deadAndRecords,
			Invariant: "whatever died has its record, and each record its event",
			Advice:    "a record without an event can be retried or deleted like any other; a death without a record has lost its payload",
		},
		{
			ID: "C04", Class: Conservation, needs: []fact{ofWaiting, ofEvents, ofDead}, judge: countsHold,
			Invariant: "no job has more attempts or crashes than it may have",
			Advice:    "look at the job with 'millhand inspect'; if no other program wrote its message, please report it",
		},
	}
}

// noEndedWaits is C01. An end is followed by the ack, which is a moment later, or a lease later if the
// worker vanished in between.
func noEndedWaits(f *Facts) judgement {
	j := judgement{lookedAt: f.Sampled.Jobs, of: f.Sampled.Of, what: "jobs", why: "no job is alive"}
	lease := longestLease(f.Snapshot)
	for i := range f.Waiting {
		w := &f.Waiting[i]
		if w.End == nil || f.Snapshot.At.Sub(w.End.At) < lease || f.Snapshot.At.Sub(w.Stored) < lease {
			continue
		}
		j.find(fmt.Sprintf("%s/%s/%s %d", w.Queue, w.Type, w.ID, w.Seq),
			fmt.Sprintf("%s/%s/%s has ended (%s, event %d) and its message %d is still in the queue", w.Queue, w.Type, w.ID, w.End.Kind, w.End.Seq, w.Seq), w, w.Seq, w.End.Seq)
	}
	return j
}

// oneEnd is C02.
func oneEnd(f *Facts) judgement {
	l := f.Ledger
	j := judgement{lookedAt: l.Events, of: l.Of, what: "events", why: "there are no events"}
	for i := range l.After {
		s := &l.After[i]
		j.find(fmt.Sprintf("%s/%s/%s %s %d", s.Queue, s.Type, s.ID, s.Life, s.Seq),
			fmt.Sprintf("%s/%s/%s: its life %s ended with %s (event %d), and then came %s (event %d)", s.Queue, s.Type, s.ID, s.Life, s.End.Kind, s.End.Seq, s.Event, s.Seq), s, s.End.Seq, s.Seq)
	}
	return j
}

// countsHold is C04.
func countsHold(f *Facts) judgement {
	j := judgement{lookedAt: f.Sampled.Jobs + int64(len(f.Dead)) + f.Ledger.Events, what: "messages", why: "there are neither jobs nor events"}
	above := func(what string, queueName, typ, id string, seq uint64, attempt, most, crashes int, facts any) {
		switch {
		case most > 0 && attempt > most:
			j.find(fmt.Sprintf("%s/%s/%s %d", queueName, typ, id, seq), fmt.Sprintf("%s/%s/%s: %s %d has attempt %d of %d", queueName, typ, id, what, seq, attempt, most), facts, seq)
		case crashes > maxCrashes && typ != job.WorkflowType: // those are never given up
			j.find(fmt.Sprintf("%s/%s/%s %d", queueName, typ, id, seq), fmt.Sprintf("%s/%s/%s: %s %d has %d crashes, %d are allowed", queueName, typ, id, what, seq, crashes, maxCrashes), facts, seq)
		}
	}
	for i := range f.Waiting {
		w := &f.Waiting[i]
		above("message", w.Queue, w.Type, w.ID, w.Seq, w.Attempt, w.MaxAttempts, w.Crashes, w)
	}
	for i := range f.Dead {
		r := &f.Dead[i]
		above("dead record", r.Queue, r.Type, r.ID, r.Seq, r.Attempt, r.MaxAttempts, r.Crashes, r)
	}
	for i := range f.Ledger.Above {
		s := &f.Ledger.Above[i]
		above("event", s.Queue, s.Type, s.ID, s.Seq, 0, 0, s.Crashes, s)
	}
	return j
}

// deadAndRecords is C03. A record that is not there may have been retried, deleted or dropped by age.
// So a death has surely none only if nothing was removed among the records around it.
func deadAndRecords(f *Facts) judgement {
	deaths := f.Ledger.Deaths
	j := judgement{lookedAt: int64(len(f.Dead) + len(deaths)), what: "records", why: "nothing died"}
	oldest := time.Time{}
	if s := f.events(); s != nil {
		oldest = s.FirstTime
	}
	known := make(map[life]time.Time, len(f.Dead)) // when an id died last; a malformed job has no life to compare
	for i := range f.Dead {
		r := &f.Dead[i]
		known[life{r.Queue, r.Type, r.ID, ""}] = r.DiedAt
		switch {
		case r.LastLife == "" && r.DiedAt.Add(settles).After(oldest):
			j.find(fmt.Sprintf("record %d", r.Seq), fmt.Sprintf("%s/%s/%s: dead record %d has no event", r.Queue, r.Type, r.ID, r.Seq), r, r.Seq)
		case r.LastLife == r.Life && r.LastKind != eventDead:
			j.find(fmt.Sprintf("record %d", r.Seq), fmt.Sprintf("%s/%s/%s: dead record %d is of a life whose last event is %s", r.Queue, r.Type, r.ID, r.Seq, r.LastKind), r, r.Seq)
		}
	}
	for i := range deaths {
		d := &deaths[i]
		recorded := known[life{d.Queue, d.Type, d.ID, ""}].After(d.At.Add(-around))
		if recorded || f.Snapshot.At.Sub(d.At) < longestLease(f.Snapshot) || !f.recordsWhole(d.At) {
			continue
		}
		j.find(fmt.Sprintf("death %d", d.Seq), fmt.Sprintf("%s/%s/%s died (event %d) and has no record", d.Queue, d.Type, d.ID, d.Seq), d, d.Seq)
	}
	return j
}

// around is how far from its event a record may be stored: a worker that is refused tries again.
const around = 2 * time.Minute

// recordsWhole reports whether no record was removed of those that were stored around a time.
func (f *Facts) recordsWhole(at time.Time) bool {
	s := f.dead()
	if s == nil || s.Info == nil {
		return false
	}
	first := max(s.Info.Config.FirstSeq, 1)
	if s.LastSeq < first { // none was ever stored
		return true
	}
	from, _ := slices.BinarySearchFunc(f.Dead, at.Add(-around), func(r Record, t time.Time) int { return r.DiedAt.Compare(t) })
	var before uint64 // the sequence before those
	switch {
	case from > 0:
		before = f.Dead[from-1].Seq
	case len(f.Dead) == 0 || f.Dead[0].Seq > first: // what was before is not known
		return false
	default:
		before = first - 1
	}
	for _, r := range f.Dead[from:] {
		if r.Seq != before+1 {
			return false
		}
		before = r.Seq
		if r.DiedAt.After(at.Add(around)) {
			return true
		}
	}
	return before == s.LastSeq
}
