package drill

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/verify"
)

// Class is that of the checks of a drill.
const Class verify.Class = "drill"

// recoverWithin is how much longer than a lease it may take until a lost job is noticed.
const recoverWithin = 5 * time.Second

// maxFindings is how many findings of a check are kept.
const maxFindings = 20

// A story is all that was seen of a job and of the workers that ran it.
type story struct {
	Records      []Record      `json:"records"`
	Events       []Event       `json:"events"`
	Disturbances []Disturbance `json:"disturbances"`
}

func (o *Observations) storyOf(id string) any {
	if id == "" {
		return nil
	}
	var s story
	at := make(map[string]bool)
	for _, r := range o.Records {
		if r.ID == id {
			s.Records, at[r.Worker] = append(s.Records, r), true
		}
	}
	for _, e := range o.Events {
		if e.ID == id {
			s.Events = append(s.Events, e)
		}
	}
	for _, d := range o.Disturbances {
		if at[d.Worker] {
			s.Disturbances = append(s.Disturbances, d)
		}
	}
	return s
}

// A finding is a promise that was broken, to a job; empty: to none in particular.
type finding struct{ id, text string }

// A check is a promise that a drill puts to the test.
type check struct {
	id, invariant, what string
	judge               func(o *Observations) (lookedAt int, findings []finding)
}

func checks() []check {
	return []check{
		{"X01", "every job that was enqueued has an end", "jobs", noneLost},
		{"X02", "a job has one end, and nothing after it", "jobs", oneEnd},
		{"X03", "no job runs at two workers at once", "runs", noOverlap},
		{"X04", "no more jobs run than the quota allows, as seen from inside them", "runs", quotaKept},
		{"X05", "a drain burns no attempt, and counts as no crash", "runs", drainsAreFree},
		{"X06", "a job whose worker vanished goes on within a lease and five seconds", "runs", recovered},
		{"X07", "attempts count up, to no more than a job may have", "jobs", attemptsCount},
		{"X08", "no job starts before its time", "jobs", onTime},
		{"X09", "nothing is left behind: no message, permit or presence", "jobs", nothingLeft},
	}
}

// Judge says of each promise whether it was kept. What had no occasion to be broken is skipped.
func Judge(o *Observations) (results []verify.Result) {
	for _, c := range checks() {
		n, findings := c.judge(o)
		r := verify.Result{
			ID: c.id, Class: Class, Invariant: c.invariant, What: c.what, LookedAt: int64(n), Status: verify.Passed,
			Doc: "docs/verify.md#" + strings.ToLower(c.id),
		}
		switch {
		case len(findings) > 0:
			r.Status, r.Advice = verify.Violated, "this is a fault of Millhand or of the broker: please report it, with the file of --report"
		case n == 0:
			r.Status, r.Why = verify.Skipped, "there was no occasion"
		}
		slices.SortFunc(findings, func(a, b finding) int { return cmp.Compare(a.text, b.text) })
		for _, f := range findings[:min(len(findings), maxFindings)] {
			r.Findings = append(r.Findings, verify.Finding{About: f.text, Text: f.text, Seen: []time.Time{o.Ended.UTC()}, Facts: o.storyOf(f.id)})
		}
		results = append(results, r)
	}
	return results
}

func (o *Observations) endsOf() map[string]int {
	ends := make(map[string]int)
	for _, e := range o.Events {
		if e.Kind.Final() {
			ends[e.Life]++
		}
	}
	return ends
}

func noneLost(o *Observations) (n int, findings []finding) {
	ends := o.endsOf()
	for _, j := range o.Jobs {
		if ends[j.Life] == 0 {
			findings = append(findings, finding{j.ID, fmt.Sprintf("job %s/%s has no end", j.Type, j.ID)})
		}
	}
	return len(o.Jobs), findings
}

func oneEnd(o *Observations) (n int, findings []finding) {
	over := make(map[string]job.EventKind)
	for _, e := range o.Events {
		if before, is := over[e.Life]; is {
			findings = append(findings, finding{e.ID, fmt.Sprintf("job %s: %s after it was %s", e.ID, e.Kind, before)})
		} else if e.Kind.Final() {
			over[e.Life] = e.Kind
		}
	}
	return len(over), findings
}

func noOverlap(o *Observations) (n int, findings []finding) {
	runs := o.runs()
	for id, of := range byID(runs) {
		for i := 1; i < len(of); i++ {
			for _, before := range of[:i] {
				if of[i].At.Before(before.until) {
					findings = append(findings, finding{id, fmt.Sprintf("job %s runs at %s from %s, and at %s until %s", id, of[i].Worker, clock(of[i].At), before.Worker, clock(before.until))})
				}
			}
		}
	}
	return len(runs), findings
}

func quotaKept(o *Observations) (n int, findings []finding) {
	type change struct {
		at time.Time
		by int
		of *run
	}
	var changes []change
	for _, r := range o.runs() {
		if o.kindOf(r.ID) != held {
			continue
		}
		n++
		changes = append(changes, change{r.At, 1, r}, change{r.until, -1, r})
	}
	slices.SortStableFunc(changes, func(a, b change) int {
		if c := a.at.Compare(b.at); c != 0 {
			return c
		}
		return a.by - b.by // what ends makes room
	})
	now := 0
	for _, c := range changes {
		if now += c.by; now > o.Limit && c.by > 0 {
			findings = append(findings, finding{c.of.ID, fmt.Sprintf("%d jobs run at %s, %d are allowed: %s at %s is one of them", now, clock(c.at), o.Limit, c.of.ID, c.of.Worker)})
		}
	}
	return n, findings
}

func (o *Observations) kindOf(id string) string {
	kind, _, _ := strings.Cut(id, "-")
	return kind
}

func drainsAreFree(o *Observations) (n int, findings []finding) {
	for id, of := range byID(o.runs()) {
		for i, r := range of {
			if r.outcome != cut || i+1 == len(of) {
				continue
			}
			n++
			next := of[i+1]
			// A worker that has it in hand next, and is killed before it starts it, is another matter.
			lost, handedBack := 0, false
			for _, e := range o.between(id, r.At, next.At) {
				handedBack = handedBack || e.Kind == job.EventHandedBack
				if handedBack && e.Kind == job.EventLost {
					lost++
				}
			}
			if next.Attempt != r.Attempt || next.Crashes != r.Crashes+lost {
				findings = append(findings, finding{id, fmt.Sprintf("job %s was handed back at attempt %d with %d crashes, and ran again as attempt %d with %d", id, r.Attempt, r.Crashes, next.Attempt, next.Crashes)})
			}
		}
	}
	return n, findings
}

// between are the events of a job after a time and before another, by the clock of this machine.
func (o *Observations) between(id string, after, before time.Time) (all []Event) {
	for _, e := range o.Events {
		if at := e.At.Add(o.Offset); e.ID == id && at.After(after) && at.Before(before) {
			all = append(all, e)
		}
	}
	return all
}

func recovered(o *Observations) (n int, findings []finding) {
	for id, of := range byID(o.runs()) {
		for i, r := range of {
			if !r.broken {
				continue
			}
			n++
			on := o.Ended
			if i+1 < len(of) {
				on = of[i+1].At
			}
			if events := o.between(id, r.until, on); len(events) > 0 {
				on = events[0].At.Add(o.Offset)
			}
			if took := on.Sub(r.until); took > o.Lease+recoverWithin {
				findings = append(findings, finding{id, fmt.Sprintf("job %s was lost with %s at %s, and went on after %.1f s", id, r.Worker, clock(r.until), took.Seconds())})
			}
		}
	}
	return n, findings
}

func attemptsCount(o *Observations) (n int, findings []finding) {
	runs, ends := byID(o.runs()), make(map[string]Event)
	for _, e := range o.Events {
		if e.Kind.Final() {
			ends[e.Life] = e
		}
	}
	for _, j := range o.Jobs {
		end, has := ends[j.Life]
		if !has {
			continue
		}
		n++
		last := 0
		for _, r := range runs[j.ID] {
			if r.Attempt < last || r.Attempt > last+1 || r.Attempt > j.MaxAttempts {
				findings = append(findings, finding{j.ID, fmt.Sprintf("job %s ran as attempt %d after attempt %d, of %d", j.ID, r.Attempt, last, j.MaxAttempts)})
			}
			last = r.Attempt
		}
		want := job.EventSucceeded
		if j.Kind == failing {
			want = job.EventDead
		}
		exhausted := end.Kind == job.EventDead && end.Reason == job.ReasonExhausted
		switch crashed := end.Kind == job.EventDead && end.Reason == job.ReasonCrashed; {
		case crashed: // more often than a job may; the seed had it in for this one
		case end.Kind != want:
			findings = append(findings, finding{j.ID, fmt.Sprintf("job %s ended as %s (%s), want %s", j.ID, end.Kind, end.Reason, want)})
		case exhausted && end.Attempt != j.MaxAttempts:
			findings = append(findings, finding{j.ID, fmt.Sprintf("job %s is out of attempts after %d of %d", j.ID, end.Attempt, j.MaxAttempts)})
		}
	}
	return n, findings
}

func onTime(o *Observations) (n int, findings []finding) {
	runs := byID(o.runs())
	for _, j := range o.Jobs {
		if j.NotBefore.IsZero() || len(runs[j.ID]) == 0 {
			continue
		}
		n++
		if early := j.NotBefore.Sub(runs[j.ID][0].At); early > 0 {
			findings = append(findings, finding{j.ID, fmt.Sprintf("job %s started %v before its time", j.ID, early)})
		}
	}
	return n, findings
}

func nothingLeft(o *Observations) (n int, findings []finding) {
	if o.Messages > 0 {
		findings = append(findings, finding{"", fmt.Sprintf("%d messages are left in the queue", o.Messages)})
	}
	if len(o.Keys) > 0 {
		findings = append(findings, finding{"", "the registry still has " + strings.Join(o.Keys, ", ")})
	}
	return len(o.Jobs), findings
}

func clock(t time.Time) string { return t.UTC().Format("15:04:05.000") }
