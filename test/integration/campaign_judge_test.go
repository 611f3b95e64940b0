package integration

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/workflow"
)

// A judge holds a campaign to what workflows promise, by the stream of events, the documents of the workflows, and what
// the stage has seen. It knows gates and ends by rules of its own.
type judge struct {
	t  *testing.T
	nc *nats.Conn
	js jetstream.JetStream

	events  map[string][]millhand.Event // by life
	runs    map[string][]time.Time      // by the job's id
	specs   map[string]*workflow.Spec   // by run
	tallies map[string]workflow.Tally   // by run
	kills   []time.Time                 // of a broker of its own

	faults    int
	repaired  int // workflows of which something was missing
	ends      map[string]int
	abandoned int // starts that were barred
	lost      int // runs
}

func newJudge(t *testing.T, url string) *judge {
	t.Helper()
	nc := connect(t, url)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return &judge{
		t: t, nc: nc, js: js, ends: make(map[string]int), events: make(map[string][]millhand.Event),
		specs: make(map[string]*workflow.Spec), tallies: make(map[string]workflow.Tally),
	}
}

func (j *judge) String() string {
	runs := 0
	for _, times := range j.runs {
		runs += len(times)
	}
	return fmt.Sprintf("generations of workflows, with those inside of others: %v; runs: %d of %d jobs, lost: %d; starts that were barred: %d; repaired: %d",
		j.ends, runs, len(j.runs), j.lost, j.abandoned, j.repaired)
}

// maxFaults is how many faults are told one by one.
const maxFaults = 30

func (j *judge) fault(format string, args ...any) {
	j.t.Helper()
	if j.faults++; j.faults <= maxFaults {
		j.t.Errorf(format, args...)
	}
}

// awaitEnds waits until all workflows have ended, now that nobody is hit any more. What has not is repaired, and told.
func (j *judge) awaitEnds(callers []*caller, over <-chan struct{}) {
	j.t.Helper()
	if within(over, patience) {
		return
	}
	for _, c := range callers {
		if c.over.Load() {
			continue
		}
		ref := millhand.Ref{ID: c.id, Type: "_workflow"}
		if found, err := c.FindWorkflow(j.t.Context(), c.id); err == nil {
			ref = found
		}
		found, err := c.RepairWorkflow(j.t.Context(), ref)
		if len(found) > 0 {
			j.repaired++
		}
		info, _ := c.GetWorkflow(j.t.Context(), ref)
		j.fault("workflow %s does not end; it is repaired: %+v, %v; it is %+v", c.id, found, err, info)
	}
	if !within(over, patience) {
		j.t.Fatal("workflows do not end, repaired or not")
	}
}

func within(over <-chan struct{}, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-over:
		return true
	case <-timer.C:
		return false
	}
}

// judge judges all workflows of which the jobs have begun as often as said, now that all have ended.
func (j *judge) judge(runs map[string][]time.Time) {
	j.t.Helper()
	j.runs = runs
	j.awaitEmpty()
	j.read()
	for run, tally := range j.tallies {
		j.workflow(run, &tally)
	}
	j.leftovers()
	if j.faults > maxFaults {
		j.t.Errorf("and %d faults more", j.faults-maxFaults)
	}
}

// read reads what there is.
func (j *judge) read() {
	j.t.Helper()
	for ref, events := range allEvents(j.t, j.nc, j.js) {
		j.events[ref.Life] = append(j.events[ref.Life], events...)
		for _, e := range events {
			if e.Kind == millhand.EventLost {
				j.lost++
			}
		}
	}
	j.documents("spec.*", func(_ string, data []byte) error {
		spec, err := workflow.DecodeSpec(data)
		if err == nil {
			j.specs[spec.Run] = spec
		}
		return err
	})
	j.documents("tally.*", func(run string, data []byte) error {
		tally, err := workflow.DecodeTally(data)
		if spec := j.specs[run]; err == nil && spec != nil { // with what a step has added that had ended meanwhile
			var g *workflow.Graph
			if g, err = workflow.NewGraph(spec); err == nil {
				tally = g.Extend(&tally)
			}
		}
		j.tallies[run] = tally
		return err
	})
}

// documents calls f with those of the workflows, and with the last token of their subject.
func (j *judge) documents(filter string, f func(token string, data []byte) error) {
	j.t.Helper()
	for _, subject := range j.subjects("millhand-workflows", "millhand.workflow."+filter) {
		m, err := j.stream("millhand-workflows").GetLastMsgForSubject(j.t.Context(), subject)
		if err == nil {
			err = f(lastToken(subject), m.Data)
		}
		if err != nil {
			j.t.Fatalf("%s: %v", subject, err)
		}
	}
}

func lastToken(subject string) string { return subject[strings.LastIndexByte(subject, '.')+1:] }

func (j *judge) stream(name string) jetstream.Stream {
	j.t.Helper()
	st, err := j.js.Stream(j.t.Context(), name)
	if err != nil {
		j.t.Fatalf("%s: %v", name, err)
	}
	return st
}

func (j *judge) subjects(stream, filter string) []string {
	j.t.Helper()
	info, err := j.stream(stream).Info(j.t.Context(), jetstream.WithSubjectFilter(filter))
	if err != nil {
		j.t.Fatalf("%s: %v", stream, err)
	}
	return slices.Collect(maps.Keys(info.State.Subjects))
}

// once judges that a workflow which was started once has run once.
func (j *judge) once(c *caller) {
	j.t.Helper()
	var runs []string
	for run, tally := range j.tallies {
		if tally.ID == c.id && !tally.Abandoned {
			runs = append(runs, run)
		}
	}
	if len(runs) != 1 {
		j.fault("workflow %s was started once, with %d calls that were not answered, and has run as %d: %v, told were %v", c.id, c.again, len(runs), runs, c.refs)
	}
}

// workflow judges a run of one, which may be a step of another.
func (j *judge) workflow(run string, tally *workflow.Tally) {
	j.t.Helper()
	own := j.ended(workflow.Life(run, tally.Gen))
	if tally.Abandoned {
		j.abandoned++
		if own == nil || own.Kind != millhand.EventDead {
			j.fault("workflow %s run %s was barred, and ended as %+v", tally.ID, run, own)
		}
		return
	}
	spec := j.specs[run]
	if spec == nil || spec.ID != tally.ID {
		j.fault("workflow %s: the tally of run %s is of no graph", tally.ID, run)
		return
	}
	if spec.Gen != tally.Gen || tally.N != len(spec.Steps) {
		j.fault("workflow %s: the tally is of generation %d with %d steps, the graph of %d with %d", spec.ID, tally.Gen, tally.N, spec.Gen, len(spec.Steps))
	}
	for gen := 1; gen <= tally.Gen; gen++ {
		if end := j.ended(workflow.Life(run, gen)); end != nil {
			j.ends[string(end.Kind)]++
		} else if spec.Parent == nil || gen == tally.Gen {
			j.fault("generation %d of workflow %s has no end", gen, spec.ID)
		}
	}
	failed := false
	for i := range spec.Steps {
		j.step(spec, tally, i)
		failed = failed || tally.At(i) == workflow.Failed && !spec.Steps[i].Optional
	}
	if own == nil {
		return
	}
	want := millhand.EventSucceeded
	switch {
	case tally.Cancelled && own.Reason != millhand.ReasonUndo:
		want = millhand.EventCancelled
	case failed:
		want = millhand.EventDead
	}
	if own.Kind != want {
		j.fault("workflow %s ended as %s, want %s: %v", spec.ID, own.Kind, want, tally)
	}
}

// ended returns the end of a life, nil if there is none, and holds it to have one end and nothing behind that.
func (j *judge) ended(life string) (end *millhand.Event) {
	j.t.Helper()
	events := j.events[life]
	for i := range events {
		if end != nil {
			j.fault("job %s in life %s goes on after its end: %v", end.ID, life, kinds(events))
			return end
		}
		if events[i].State.Final() {
			end = &events[i]
		}
	}
	return end
}

// step judges a step: it has ended as its job has, began behind its gate, and did so at all.
func (j *judge) step(spec *workflow.Spec, tally *workflow.Tally, i int) {
	j.t.Helper()
	step, state := &spec.Steps[i], tally.At(i)
	if state == workflow.Pending {
		j.fault("step %s of %s has not ended", step.Name, spec.ID)
		return
	}
	if step.Kind == workflow.KindGroup {
		j.group(spec, tally, i)
		return
	}
	last := millhand.Event{}
	for gen := 1; gen <= tally.Gen; gen++ {
		if end := j.ended(lifeOf(spec, gen, i, 0)); end != nil {
			last = *end
			if gen == tally.Gen && state == workflow.Skipped && step.Kind == workflow.KindJob {
				j.fault("step %s of %s was skipped, and is %s", step.Name, spec.ID, end.Kind)
			}
		}
	}
	if state == workflow.Succeeded != (last.Kind == millhand.EventSucceeded) && state != workflow.Skipped {
		j.fault("step %s of %s is %s, and its job ended as %q (%s)", step.Name, spec.ID, state, last.Kind, last.Error)
	}
	if step.Kind == workflow.KindJob {
		j.began(spec, tally, i, 0, workflow.JobID(spec.ID, step.Name), state == workflow.Succeeded)
	}
}

// group judges a group: each of its jobs has ended, and is counted.
func (j *judge) group(spec *workflow.Spec, tally *workflow.Tally, i int) {
	j.t.Helper()
	step := &spec.Steps[i]
	succeeded, failed := 0, 0
	for n := range step.Jobs {
		var last millhand.EventKind
		for gen := 1; gen <= tally.Gen; gen++ {
			if end := j.ended(lifeOf(spec, gen, i, n)); end != nil {
				last = end.Kind
			}
		}
		if last == millhand.EventSucceeded {
			succeeded++
		} else if last != "" {
			failed++
		}
		j.began(spec, tally, i, n, workflow.GroupJobID(spec.ID, step.Name, n), last == millhand.EventSucceeded)
	}
	switch tally.At(i) {
	case workflow.Succeeded:
		root := j.root(spec.Run, step.Name)
		if succeeded+failed != step.Jobs || failed > step.Tolerates() || root.Succeeded != succeeded || root.Failed != failed {
			j.fault("group %s of %s has succeeded: of %d jobs %d did and %d failed, it counts %+v", step.Name, spec.ID, step.Jobs, succeeded, failed, root.Counts)
		}
	case workflow.Failed:
		if failed <= step.Tolerates() && !tally.Cancelled && tally.Stopped == nil {
			j.fault("group %s of %s has failed: of %d jobs %d succeeded and %d failed", step.Name, spec.ID, step.Jobs, succeeded, failed)
		}
	case workflow.Pending, workflow.Skipped:
	}
}

func (j *judge) root(run, step string) (root workflow.Root) {
	j.t.Helper()
	j.documents("tally."+run+"."+step, func(_ string, data []byte) (err error) {
		root, err = workflow.DecodeRoot(data)
		return err
	})
	return root
}

// jobsLeft returns the subjects of jobs that are in the queue, and the ids of those that remove what is known of
// workflows in a week.
func (j *judge) jobsLeft() (left, cleaners []string) {
	j.t.Helper()
	for _, subject := range j.subjects("millhand-queue-default", "millhand.default.*.*.*") {
		if id := lastToken(subject); strings.Contains(id, "--_clean-") {
			cleaners = append(cleaners, id)
		} else {
			left = append(left, subject)
		}
	}
	return left, cleaners
}

// awaitEmpty waits until nothing is left in the queue that anybody runs.
func (j *judge) awaitEmpty() {
	j.t.Helper()
	for end := time.Now().Add(patience); ; pause(100 * time.Millisecond) {
		left, _ := j.jobsLeft()
		if len(left) == 0 {
			return
		}
		if time.Now().After(end) {
			j.fault("left in the queue: %v\n%s", left, waiting(j.t, j.js, "default"))
			return
		}
	}
}

// leftovers judges what is there behind the end: a job that removes each run in a week, no document of anybody
// else, and no order to cancel that holds for ever.
func (j *judge) leftovers() {
	j.t.Helper()
	_, cleaners := j.jobsLeft()
	slices.Sort(cleaners)
	for run, tally := range j.tallies {
		if _, found := slices.BinarySearch(cleaners, workflow.CleanID(tally.ID, run, tally.Gen)); !found {
			j.fault("nobody will remove run %s of workflow %s", run, tally.ID)
		}
	}
	for _, id := range cleaners {
		_, name, _ := workflow.Split(id)
		if _, run, gen := workflow.ParseChore(name); j.tallies[run].Gen < gen {
			j.fault("%s is to remove what is not there", id)
		}
	}
	for _, kind := range []string{"tally", "out", "items"} {
		for _, subject := range j.subjects("millhand-workflows", "millhand.workflow."+kind+".>") {
			if _, known := j.tallies[strings.Split(subject, ".")[3]]; !known {
				j.fault("%s is of no run", subject)
			}
		}
	}
	const bucket = "KV_millhand-registry"
	for _, subject := range j.subjects(bucket, "$KV.millhand-registry.cancel.>") {
		m, err := j.stream(bucket).GetLastMsgForSubject(j.t.Context(), subject)
		if err == nil && m.Header.Get("Nats-TTL") == "" {
			j.fault("%s holds for ever", subject)
		}
	}
}
