package workflow

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// valid returns a workflow with these steps.
func valid(steps ...Step) *Spec {
	return &Spec{ID: "w", Run: "r", Gen: 1, Name: "import", Queue: "default", Steps: steps}
}

func step(name string, after ...Condition) Step {
	return Step{Name: name, Kind: KindJob, Type: "t", After: after}
}

func after(mode Mode, of ...int) Condition { return Condition{Mode: mode, Of: of} }

func undo(name string, of int) Step {
	return Step{Name: name, Kind: KindJob, Type: "t", UndoOf: &of}
}

// What cannot be a workflow is refused with the rule that it breaks.
func TestCheckSpec(t *testing.T) {
	nested := func(levels int) *Spec {
		s := valid(step("a"))
		for range levels - 1 {
			s = valid(Step{Name: "sub", Kind: KindWorkflow, Child: s})
		}
		return s
	}
	ring := valid(Step{Name: "sub", Kind: KindWorkflow})
	ring.Steps[0].Child = valid(Step{Name: "inner", Kind: KindWorkflow, Child: ring})
	many := func(n int) *Spec {
		s := valid()
		for i := range n {
			s.Steps = append(s.Steps, step(fmt.Sprint("s", i)))
		}
		return s
	}
	named := func(id string) *Spec {
		s := valid(step("a"))
		s.ID = id
		return s
	}
	called := func(name string) *Spec {
		s := valid(step("a"))
		s.Name = name
		return s
	}
	inside := func(of Member) *Spec {
		s := valid(step("a"))
		s.Parent = &of
		return s
	}
	grown := func(depth, levels int) *Spec {
		s := nested(levels)
		s.Parent, s.Depth = &Member{ID: "w", Run: "r"}, depth
		return s
	}
	inTime := valid(step("a"), step("b", after(AllEnded, 0)))
	inTime.Steps[1].After[0].Early = true
	deep := valid(step("a"))
	deep.Depth = 1
	big := valid(step("a"))
	big.Steps[0].Args = json.RawMessage(`"` + strings.Repeat("x", maxSpec) + `"`)
	for name, c := range map[string]struct {
		spec *Spec
		want string // "": it is one
	}{
		"a chain":     {valid(step("a"), step("b", after(AllSucceeded, 0))), ""},
		"as many":     {many(4096), ""},
		"deep":        {nested(16), ""},
		"with undo":   {valid(step("a"), undo("undo-a", 0)), ""},
		"longest":     {named(strings.Repeat("i", 60)), ""},
		"out of turn": {valid(step("a", after(AllEnded, 1)), step("b")), ""},

		"no steps":       {valid(), `workflow "import": has no steps`},
		"too many":       {many(4097), `workflow "import": has 4097 steps, at most 4096 are allowed`},
		"too deep":       {nested(17), `workflow "import": is inside 16 others, at most 16 levels are allowed`},
		"deep by growth": {grown(2, 14), ""},
		"grown too deep": {grown(2, 15), `workflow "import": is inside 16 others, at most 16 levels are allowed`},
		"early for none": {inTime, `step "b": comes early after mode end: want fail, which a failure opens`},
		"deep in none":   {deep, `workflow "w": is inside 1 others, and a step of none`},
		"in itself":      {ring, `workflow "import": contains itself`},
		"too big":        {big, `workflow "w": graph and payloads have 524407 bytes, at most 524288 are allowed`},
		"long id":        {named(strings.Repeat("i", 61)), `id of a workflow "` + strings.Repeat("i", 61) + `": has 61 characters, at most 60 are allowed`},
		"id of a step":   {named("w--a"), `id of a workflow "w--a": must not contain --, which stands between the names of workflow and step`},
		"name to read":   {called("Nightly import – Zürich"), ""},
		"endless name":   {called(strings.Repeat("ü", 101)), `name of a workflow "` + strings.Repeat("ü", 40) + `…": has 101 characters, at most 100 are allowed`},
		"name of escape": {called("a\x1b[31m"), `name of a workflow "a\x1b[31m": has a character that cannot be printed`},
		"name of bytes":  {called("a\xff"), `name of a workflow "a\xff": has a character that cannot be printed`},
		"no id":          {named(""), `id of a workflow must not be empty`},
		"internal name":  {valid(step("_fill")), `step "_fill": must begin with A-Z, a-z or 0-9`},
		"open end":       {valid(step("a-")), `step "a-": must not end with -, since -- stands between the names of workflow and step`},
		"long name":      {valid(step(strings.Repeat("s", 41))), `step "` + strings.Repeat("s", 41) + `": has 41 characters, at most 40 are allowed`},
		"wild name":      {valid(step("a.*")), `step "a.*": only A-Z a-z 0-9 _ and - are allowed`},
		"two of a name":  {valid(step("a"), step("a")), `step "a": two steps have this name`},
		"unknown step":   {valid(step("a", after(AllSucceeded, 1))), `step "a": comes after step 1, and there are 1, from 0`},
		"negative step":  {valid(step("a", after(AllSucceeded, -1))), `step "a": comes after step -1, and there are 1, from 0`},
		"itself":         {valid(step("a", after(AnySucceeded, 0))), `step "a": comes after itself`},
		"a cycle":        {valid(step("a"), step("b", after(AllEnded, 0), after(AllEnded, 2)), step("c", after(OneFailed, 1)), step("d", after(AllEnded, 2))), `step "b": comes after itself`},
		"after nothing":  {valid(step("a", after(AllSucceeded))), `step "a": comes after no step in mode all`},
		"unknown mode":   {valid(step("a"), step("b", after("ok", 0))), `step "b": comes after mode "ok": want all, end, fail or any`},
		"unknown kind":   {valid(Step{Name: "a", Kind: "task"}), `step "a": kind "task": want job, group, sleep, signal or workflow`},
		"no type":        {valid(Step{Name: "a", Kind: KindJob}), `step "a": has no type`},
		"no time":        {valid(Step{Name: "a", Kind: KindSleep}), `step "a": sleeps for 0 ms, want more than 0 and at most 3650 days`},
		"too much time":  {valid(Step{Name: "a", Kind: KindSleep, SleepMS: 3650*24*3600*1000 + 1}), `step "a": sleeps for 315360000001 ms, want more than 0 and at most 3650 days`},
		"time of a job":  {valid(Step{Name: "a", Kind: KindJob, Type: "t", SleepMS: 1}), `step "a": does not sleep, and says for how long`},
		"name inside":    {valid(Step{Name: "a", Kind: KindWorkflow, Child: &Spec{Name: "a\x1b[31m", Steps: []Step{step("b")}}}), `name of a workflow "a\x1b[31m": has a character that cannot be printed`},
		"wild payloads":  {valid(Step{Name: "a", Kind: KindGroup, Type: "t", Jobs: 1, Payloads: "a.>"}), `run "a.>": only A-Z a-z 0-9 _ and - are allowed`},
		"wild parent":    {inside(Member{ID: "w", Run: "a.>"}), `run "a.>": only A-Z a-z 0-9 _ and - are allowed`},
		"wild outer id":  {inside(Member{ID: "*", Run: "r"}), `id of a workflow "*": must begin with A-Z, a-z or 0-9`},
		"no child":       {valid(Step{Name: "a", Kind: KindWorkflow}), `step "a": is a workflow and has none`},
		"child of a job": {valid(Step{Name: "a", Kind: KindJob, Type: "t", Child: nested(1)}), `step "a": is no workflow and has one`},
		"late signal":    {valid(step("a"), Step{Name: "s", Kind: KindSignal, After: []Condition{after(AllEnded, 0)}}), `step "s": is a signal, which comes when somebody sends it, so it comes after nothing: let what waits for it wait for the others too`},
		"no payload":     {valid(Step{Name: "a", Kind: KindJob, Type: "t", Args: json.RawMessage("{")}), `step "a": its payload is no JSON`},
		"no attempts":    {valid(Step{Name: "a", Kind: KindJob, Type: "t", Options: Options{MaxAttempts: -1}}), `step "a": max attempts must not be negative`},
		"undo by name":   {valid(step("a"), undo("withdraw", 0)), `step "withdraw": undoes a, so it has to be called undo-a`},
		"undo of none":   {valid(undo("undo-a", 1)), `step "undo-a": undoes step 1, and there are 1, from 0`},
		"undo of undo":   {valid(step("a"), undo("undo-a", 0), undo("undo-undo-a", 1)), `step "undo-undo-a": undoes a step at which nothing is done that could be undone`},
		"after an undo":  {valid(step("a"), undo("undo-a", 0), step("b", after(AllEnded, 1))), `step "b": comes after undo-a, which runs when all others have ended`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.spec.Encode()
			if c.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if _, ok := errors.AsType[*InvalidError](err); !ok || err.Error() != c.want {
				t.Errorf("error %v\nwant  %s", err, c.want)
			}
		})
	}
}

func TestParseMember(t *testing.T) {
	for _, m := range []Member{
		{ID: "import-2026-11-28", Run: "x7", Gen: 1, Step: 0, Job: -1},
		{ID: "w", Run: "r", Gen: 3, Step: 4095, Job: 0},
		{ID: "w", Run: "r", Gen: 3, Step: 17, Job: 99_999},
	} {
		if got, err := ParseMember(m.String()); err != nil || got != m {
			t.Errorf("%s is %+v (%v), want %+v", m, got, err, m)
		}
	}
	for _, s := range []string{"", "w/r/1", "w/r/1/2/3/4", "w/r/0/1", "w/r/01/1", "w/r/+1/1", "w/r/1/4096", "w/r/1/-1", "w/r/1/1/16777216", "w--a/r/1/1", "w/r.r/1/1", "/r/1/1", "w//1/1", "w/r/1/1/"} {
		if m, err := ParseMember(s); err == nil {
			t.Errorf("%q is %+v, want an error", s, m)
		}
	}
}

// The names of jobs, with their longest parts, are ids of jobs.
func TestJobIDsFit(t *testing.T) {
	for _, id := range []string{CleanID(strings.Repeat("w", maxID), strings.Repeat("r", maxRun), maxGen), CancelID(strings.Repeat("w", maxID), strings.Repeat("r", maxRun), maxGen)} {
		if len(id) > 128 {
			t.Errorf("%s has %d characters", id, len(id))
		}
	}
	if life := StepLife(strings.Repeat("r", maxRun), maxGen, maxSteps-1); len(life) > 64 {
		t.Errorf("life %s has %d characters", life, len(life))
	}
	id := JobID(strings.Repeat("w", maxID), UndoName(strings.Repeat("s", maxStep)))
	if len(id) > 128-len("--16777215") {
		t.Errorf("%d characters", len(id))
	}
}

func TestParseChore(t *testing.T) {
	for id, want := range map[string]Chore{
		CancelID("w", "r-2", 3): ChoreCancel, StopID("w", "r-2", 3): ChoreStop, CleanID("w", "r-2", 3): ChoreClean,
		JobID("w", "_cancel"): NoChore, JobID("w", "_cancel-r-0"): NoChore, JobID("w", "_clean-r-02"): NoChore, JobID("w", "a"): NoChore,
	} {
		_, name, _ := Split(id)
		c, run, gen := ParseChore(name)
		if c != want || c != NoChore && (run != "r-2" || gen != 3) {
			t.Errorf("%s is chore %d of run %q, generation %d", id, c, run, gen)
		}
	}
}
