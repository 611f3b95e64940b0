package workflow

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Longest names, in characters. The id of a job of a step, or of a group, is made of them, and is to
// be a job's id.
const (
	maxID   = 60
	maxStep = 40
	maxRun  = 32
)

// maxTitle bounds what people call a workflow, in characters.
const maxTitle = 100

// between stands in the id of a step's job between the workflow's and the step's name.
const between = "--"

// Names in the place of a step's that no step has.
const (
	cancelStep = "_cancel-"
	stopStep   = "_stop-"
	cleanStep  = "_clean-"
	fillStep   = "_fill-"
	dropStep   = "_drop-"
)

// undoPrefix begins the name of the step that undoes another.
const undoPrefix = "undo-"

// CheckID returns an [*InvalidError] if id cannot be that of a workflow.
func CheckID(id string) error { return checkName("id of a workflow", id, maxID) }

// CheckStep returns an [*InvalidError] if name cannot be that of a step.
func CheckStep(name string) error { return checkName("step", name, maxStep) }

func checkName(what, name string, most int) error {
	switch {
	case name == "":
		return invalid(what, "", "must not be empty")
	case len(name) > most:
		return invalid(what, name, "has %d characters, at most %d are allowed", len(name), most)
	case !letter(name[0]):
		return invalid(what, name, "must begin with A-Z, a-z or 0-9")
	case !token(name):
		return invalid(what, name, "only A-Z a-z 0-9 _ and - are allowed")
	case strings.Contains(name, between):
		return invalid(what, name, "must not contain %s, which stands between the names of workflow and step", between)
	case name[len(name)-1] == '-':
		return invalid(what, name, "must not end with -, since %s stands between the names of workflow and step", between)
	}
	return nil
}

// checkTitle returns an [*InvalidError] if what people call a workflow cannot be shown in a line of a table.
func checkTitle(title string) error {
	const what = "name of a workflow"
	if n := utf8.RuneCountInString(title); n > maxTitle {
		return invalid(what, title, "has %d characters, at most %d are allowed", n, maxTitle)
	}
	for _, c := range title {
		if c == utf8.RuneError || !unicode.IsPrint(c) {
			return invalid(what, title, "has a character that cannot be printed")
		}
	}
	return nil
}

func token(s string) bool {
	for i := range len(s) {
		if c := s[i]; !letter(c) && c != '_' && c != '-' {
			return false
		}
	}
	return true
}

func letter(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// JobID returns the id of the job of a step.
func JobID(workflow, step string) string { return workflow + between + step }

// UndoName returns the name of the step that undoes another.
func UndoName(step string) string { return undoPrefix + step }

// ChildRun returns the run of a workflow that is a step of another's run. It is the same whoever asks.
func ChildRun(run, step string) string {
	sum := sha256.Sum256([]byte(run + "/" + step))
	return hex.EncodeToString(sum[:maxRun/2])
}

// Parts of the names of workflow and step, and of the run, in the id of a workflow that is a step.
const (
	childName = 20
	childStep = 24
	childPart = 12
)

// ChildID returns the id of a workflow that is a step of another, which tells people what it is of.
func ChildID(workflow, run, step string) string {
	return firstOf(workflow, childName) + "-" + firstOf(step, childStep) + "-" + ChildRun(run, step)[:childPart]
}

func firstOf(name string, most int) string {
	return strings.TrimRight(name[:min(len(name), most)], "-")
}

// Life returns the life of the job of a generation of a run itself.
func Life(run string, gen int) string { return run + "-" + strconv.Itoa(gen) }

// StepLife returns that of the job of one of its steps. They differ, since the broker knows what it has
// stored by the life.
func StepLife(run string, gen, step int) string { return Life(run, gen) + "-" + strconv.Itoa(step) }

// Split returns the workflow and the step of the id of a step's job, and false for any other id.
func Split(id string) (workflow, step string, ok bool) {
	workflow, step, ok = strings.Cut(id, between)
	return workflow, step, ok && CheckID(workflow) == nil
}

// CancelID returns the id of the job that cancels a generation of a run.
func CancelID(workflow, run string, gen int) string {
	return workflow + between + cancelStep + Life(run, gen)
}

// StopID returns the id of the job that stops the other steps of one that failed.
func StopID(workflow, run string, gen int) string {
	return workflow + between + stopStep + Life(run, gen)
}

// CleanID returns the id of the job that removes what is kept of a run after the end of a generation.
func CleanID(workflow, run string, gen int) string {
	return workflow + between + cleanStep + Life(run, gen)
}

// FillID returns the id of the job that publishes those of a group.
func FillID(workflow, run string, gen, step int) string {
	return workflow + between + fillStep + StepLife(run, gen, step)
}

// DropID returns the id of the job that cancels what is left of a group which has failed.
func DropID(workflow, run string, gen, step int) string {
	return workflow + between + dropStep + StepLife(run, gen, step)
}

// IsFill reports whether the job is one that publishes a group, by the second part of its id.
func IsFill(step string) bool { return strings.HasPrefix(step, fillStep) }

// ParseFill returns which group of which generation of which run a job publishes, by the second part of its id.
func ParseFill(step string) (run string, gen, group int, ok bool) {
	life, ok := strings.CutPrefix(step, fillStep)
	at := strings.LastIndexByte(life, '-')
	if !ok || at < 0 {
		return "", 0, 0, false
	}
	group, err := strconv.Atoi(life[at+1:])
	run, gen, ok = ParseLife(life[:at])
	return run, gen, group, ok && err == nil && group >= 0 && StepLife(run, gen, group) == life
}

// IsDrop reports whether the job is one that cancels what is left of a group.
func IsDrop(step string) bool { return strings.HasPrefix(step, dropStep) }

// GroupJobID returns the id of a job of a group, by its number.
func GroupJobID(workflow, step string, n int) string {
	return JobID(workflow, step) + between + strconv.Itoa(n)
}

// GroupLife returns the life of a job of a group.
func GroupLife(run string, gen, step, n int) string {
	return StepLife(run, gen, step) + "-" + strconv.Itoa(n)
}

// A Chore is what a job does that is of a workflow and of no step.
type Chore uint8

// The chores.
const (
	NoChore Chore = iota
	ChoreCancel
	ChoreStop
	ChoreClean
)

// ParseChore returns what a job does for which generation of which run, by the second part of its id.
func ParseChore(step string) (c Chore, run string, gen int) {
	for prefix, chore := range map[string]Chore{cancelStep: ChoreCancel, stopStep: ChoreStop, cleanStep: ChoreClean} {
		life, ok := strings.CutPrefix(step, prefix)
		if !ok {
			continue
		}
		if run, gen, ok := ParseLife(life); ok {
			return chore, run, gen
		}
	}
	return NoChore, "", 0
}

// ParseLife is the inverse of [Life]. It reports false for any other text.
func ParseLife(life string) (run string, gen int, ok bool) {
	at := strings.LastIndexByte(life, '-')
	if at < 0 || CheckRun(life[:at]) != nil {
		return "", 0, false
	}
	gen, err := strconv.Atoi(life[at+1:])
	if err != nil || gen < 1 || gen > maxGen || Life(life[:at], gen) != life {
		return "", 0, false
	}
	return life[:at], gen, true
}

// A Member says which step of which workflow a job is.
type Member struct {
	ID   string // of the workflow
	Run  string // which start of it
	Gen  int    // counts its retries, from 1
	Step int    // its number in [Spec.Steps]
	Job  int    // its number in the step, which is a group; -1: it is the step's only job

	// Again says of a job of a group that it may have been published, and may have ended, before: whoever
	// runs it looks first.
	Again bool
}

// Group returns what the members of a group begin with.
func (m Member) Group() string { return fmt.Sprintf("%s/%s/%d/%d/", m.ID, m.Run, m.Gen, m.Step) }

// String returns m as the header Millhand-Workflow has it: <id>/<run>/<gen>/<step>, and /<job> if
// the step is a group, and /again.
func (m Member) String() string {
	s := fmt.Sprintf("%s/%s/%d/%d", m.ID, m.Run, m.Gen, m.Step)
	if m.Job >= 0 {
		s += "/" + strconv.Itoa(m.Job)
	}
	if m.Again {
		s += again
	}
	return s
}

// again ends the text of a member that may have been published before.
const again = "/again"

// IsOfGroup reports whether the text of a member says that it is of a group.
func IsOfGroup(member string) bool { return strings.Count(strings.TrimSuffix(member, again), "/") == 4 }

// ParseMember is the inverse of [Member.String]. The error is an [*InvalidError].
func ParseMember(s string) (Member, error) {
	text, repeated := strings.CutSuffix(s, again)
	parts := strings.Split(text, "/")
	if len(parts) != 4 && len(parts) != 5 || repeated && len(parts) != 5 {
		return Member{}, invalid("member of a workflow", s, "want id/run/generation/step, and /job in a group")
	}
	m := Member{ID: parts[0], Run: parts[1], Job: -1, Again: repeated}
	if err := CheckID(m.ID); err != nil {
		return Member{}, err
	}
	if err := CheckRun(m.Run); err != nil {
		return Member{}, err
	}
	numbers := []struct {
		to   *int
		what string
		most int
	}{{&m.Gen, "generation", maxGen}, {&m.Step, "step", maxSteps - 1}, {&m.Job, "job", maxJobs - 1}}
	for i, part := range parts[2:] {
		n, err := strconv.Atoi(part)
		if err != nil || n < 0 || n > numbers[i].most || strconv.Itoa(n) != part {
			return Member{}, invalid("member of a workflow", s, "%s: want a number up to %d", numbers[i].what, numbers[i].most)
		}
		*numbers[i].to = n
	}
	if m.Gen == 0 {
		return Member{}, invalid("member of a workflow", s, "generations count from 1")
	}
	return m, nil
}

// CheckRun returns an [*InvalidError] if run cannot name a start of a workflow.
func CheckRun(run string) error {
	switch {
	case run == "":
		return invalid("run", "", "must not be empty")
	case len(run) > maxRun:
		return invalid("run", run, "has %d characters, at most %d are allowed", len(run), maxRun)
	case !token(run):
		return invalid("run", run, "only A-Z a-z 0-9 _ and - are allowed")
	}
	return nil
}
