package drill

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/verify"
)

var begin = time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)

func at(seconds float64) time.Time { return begin.Add(time.Duration(seconds * float64(time.Second))) }

// told is what a worker says of a run.
func told(worker string, n int, id string, attempt, crashes int, from, until float64, outcome string) []Record {
	r := Record{At: at(from), What: started, Worker: worker, Run: n, Type: "t", ID: id, Attempt: attempt, Crashes: crashes}
	if outcome == "" {
		return []Record{r}
	}
	e := r
	e.At, e.What, e.Outcome = at(until), ended, outcome
	return []Record{r, e}
}

func event(id string, kind job.EventKind, attempt int, when float64) Event {
	return Event{ID: id, Life: "life-" + id, Kind: kind, Attempt: attempt, At: at(when)}
}

// good is a drill in which every promise had an occasion to be broken, and none was.
func good() *Observations {
	o := &Observations{Lease: 4 * time.Second, Limit: 2, Ended: at(60)}
	for _, kind := range []string{quick, held, held, held, failing, later} {
		id := fmt.Sprintf("%s-%d", kind, len(o.Jobs))
		o.Jobs = append(o.Jobs, Job{Kind: kind, Type: "t", ID: id, Life: "life-" + id, MaxAttempts: 2})
	}
	o.Jobs[5].NotBefore = at(10)
	o.Records = sortedRecords(slices.Concat(
		told("a", 1, "quick-0", 1, 0, 1, 0, ""),          // killed at 2
		told("b", 1, "quick-0", 1, 1, 7, 8, done),        //
		told("b", 2, "held-1", 1, 0, 1, 3, done),         //
		told("c", 1, "held-2", 1, 0, 1, 9, leaseLost),    // frozen from 2 to 9
		told("b", 3, "held-2", 1, 1, 10, 11, done),       //
		told("b", 4, "held-3", 1, 0, 3, 4, cut),          // drained
		told("d", 1, "held-3", 1, 0, 5, 6, done),         //
		told("d", 2, "failing-4", 1, 0, 1, 2, failed),    //
		told("d", 3, "failing-4", 2, 0, 4, 5, failed),    //
		told("d", 4, "later-5", 1, 0, 10.1, 10.2, done))) //
	o.Disturbances = []Disturbance{
		{at(2), killed, "a"}, {at(2), frozen, "c"}, {at(4.1), exited, "b4"}, {at(9), woken, "c"},
	}
	dead := event("failing-4", job.EventDead, 2, 5.1)
	dead.Reason = job.ReasonExhausted
	o.Events = []Event{
		event("failing-4", job.EventRetrying, 1, 2.1), event("held-1", job.EventSucceeded, 1, 3.1), event("held-3", job.EventHandedBack, 1, 4.1),
		dead, event("held-3", job.EventSucceeded, 1, 6.1), event("quick-0", job.EventLost, 1, 6.5), event("held-2", job.EventLost, 1, 6.6),
		event("quick-0", job.EventSucceeded, 1, 8.1), event("later-5", job.EventSucceeded, 1, 10.3), event("held-2", job.EventSucceeded, 1, 11.1),
	}
	return o
}

func violated(o *Observations) (ids []string) {
	for _, r := range Judge(o) {
		if r.Status == verify.Violated {
			ids = append(ids, r.ID)
		}
	}
	return ids
}

// A drill without a fault passes every check, and each had something to look at.
func TestAGoodDrillPasses(t *testing.T) {
	for _, r := range Judge(good()) {
		if r.Status != verify.Passed {
			t.Errorf("%s is %s: %+v", r.ID, r.Status, r.Findings)
		}
	}
	for _, r := range Judge(&Observations{}) {
		if r.Status != verify.Skipped {
			t.Errorf("%s of nothing is %s", r.ID, r.Status)
		}
	}
}

// Each fault is found, by its check.
func TestPlantedFaultsAreFound(t *testing.T) {
	drop := func(o *Observations, id string, final bool) {
		o.Events = slices.DeleteFunc(o.Events, func(e Event) bool { return e.ID == id && e.Kind.Final() == final })
	}
	for what, c := range map[string]struct {
		plant func(o *Observations)
		want  string
	}{
		"a job without an end":          {func(o *Observations) { drop(o, "held-1", true) }, "X01"},
		"a job that was never heard of": {func(o *Observations) { o.Jobs = append(o.Jobs, Job{Kind: quick, ID: "quick-9", Life: "l"}) }, "X01"},
		"two ends":                      {func(o *Observations) { o.Events = append(o.Events, event("held-1", job.EventSucceeded, 1, 12)) }, "X02"},
		"a retry after the end":         {func(o *Observations) { o.Events = append(o.Events, event("held-1", job.EventRetrying, 1, 12)) }, "X02"},
		"a run while another goes on": {func(o *Observations) {
			o.Records = append(o.Records, told("d", 9, "later-5", 1, 0, 10.15, 10.3, done)...)
		}, "X03"},
		"a run before the kill":          {func(o *Observations) { o.Records[0].At, o.Disturbances[0].At = at(1), at(7.5) }, "X03"},
		"three where two are allowed":    {func(o *Observations) { o.Records = append(o.Records, told("d", 9, "held-9", 1, 0, 1.5, 1.6, done)...) }, "X04"},
		"a drain that burns an attempt":  {func(o *Observations) { o.edit("d", 1, func(r *Record) { r.Attempt = 2 }) }, "X05"},
		"a drain that counts as a crash": {func(o *Observations) { o.edit("d", 1, func(r *Record) { r.Crashes = 1 }) }, "X05"},
		"a job that goes on too late": {func(o *Observations) {
			drop(o, "quick-0", false)
			o.edit("b", 1, func(r *Record) { r.At = r.At.Add(5 * time.Second) })
			o.Events[6].At = at(13.1)
		}, "X06"},
		"an attempt too many": {func(o *Observations) {
			o.Records = append(o.Records, told("d", 9, "failing-4", 3, 0, 13, 14, failed)...)
		}, "X07"},
		"a success that should fail":  {func(o *Observations) { o.Events[3].Kind = job.EventSucceeded }, "X07"},
		"given up with attempts left": {func(o *Observations) { o.Events[3].Attempt = 1 }, "X07"},
		"a start before its time":     {func(o *Observations) { o.Jobs[5].NotBefore = at(10.11) }, "X08"},
		"a message that is left":      {func(o *Observations) { o.Messages = 1 }, "X09"},
		"a permit that is left":       {func(o *Observations) { o.Keys = []string{"grant.t.w"} }, "X09"},
	} {
		o := good()
		c.plant(o)
		if got := violated(o); !slices.Contains(got, c.want) {
			t.Errorf("%s: violated %q, want %s", what, got, c.want)
		}
	}
}

// edit changes what a worker said of a run.
func (o *Observations) edit(worker string, n int, change func(*Record)) {
	for i := range o.Records {
		if o.Records[i].Worker == worker && o.Records[i].Run == n {
			change(&o.Records[i])
		}
	}
}

// What is done to a worker is noted before it takes effect: a run may begin in between, and is broken all the same.
func TestARunBeginsWhileItsWorkerIsFrozen(t *testing.T) {
	o := good()
	o.edit("c", 1, func(r *Record) {
		if r.What == started {
			r.At = at(2.001)
		}
	})
	if got := violated(o); len(got) > 0 {
		t.Errorf("violated %q, want nothing", got)
	}
}

// A worker that is killed while it is frozen has ended its runs when it was frozen.
func TestAFrozenWorkerIsKilled(t *testing.T) {
	o := good()
	o.Records = slices.DeleteFunc(o.Records, func(r Record) bool { return r.Worker == "c" && r.What == ended })
	for i := range o.Disturbances {
		if o.Disturbances[i].What == woken {
			o.Disturbances[i] = Disturbance{at(10.5), killed, "c"}
		}
	}
	if got := violated(o); len(got) > 0 {
		t.Errorf("violated %q, want nothing", got)
	}
}

// Each check is explained where its result says.
func TestChecksAreDocumented(t *testing.T) {
	doc, err := os.ReadFile("../../docs/verify.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range checks() {
		if !strings.Contains(string(doc), "\n### "+c.id+"\n") {
			t.Errorf("docs/verify.md has no %s", c.id)
		}
	}
}
