package workflow

import (
	"encoding/json"
	"time"
)

// Limits of a workflow.
const (
	maxSteps = 4096
	maxSpec  = 512 << 10 // bytes
	maxDepth = 16        // workflows in workflows, the outermost included
	maxJobs  = maxSteps * ShardJobs
	MaxGroup = 1_000_000 // jobs of one
	maxGen   = 1 << 20
)

// A Kind is what a step does.
type Kind string

// The kinds of steps.
const (
	KindJob      Kind = "job"
	KindGroup    Kind = "group"    // many jobs
	KindSleep    Kind = "sleep"    // ends as succeeded after a time
	KindSignal   Kind = "signal"   // ends as succeeded when somebody says so
	KindWorkflow Kind = "workflow" // ends as another workflow does
)

// A Mode says how the steps of a [Condition] have to end.
type Mode string

// The modes. The first two are of all steps alike.
const (
	AllSucceeded Mode = "all"
	AllEnded     Mode = "end"
	OneFailed    Mode = "fail" // all have ended, and one at least has failed
	AnySucceeded Mode = "any"  // the first that does is enough
)

// A Condition is one thing that a step comes after. A step with several comes after all of them.
type Condition struct {
	Mode  Mode  `json:"mode"`
	Of    []int `json:"of"`              // numbers of steps, one at least
	Early bool  `json:"early,omitempty"` // of [OneFailed]: once it is certain that one fails, whether all have ended or not
}

// Options are how the job of a step is enqueued.
type Options struct {
	MaxAttempts int `json:"max_attempts,omitempty"` // 0: as the type has it
}

// A Step is one node of the graph.
type Step struct {
	Name     string          `json:"name"`
	Kind     Kind            `json:"kind"`
	Type     string          `json:"type,omitempty"`  // of its jobs
	Queue    string          `json:"queue,omitempty"` // "": the workflow's
	Args     json.RawMessage `json:"args,omitempty"`
	After    []Condition     `json:"after,omitempty"`
	SleepMS  int64           `json:"sleep_ms,omitempty"` // of [KindSleep]
	Child    *Spec           `json:"child,omitempty"`    // of [KindWorkflow]
	UndoOf   *int            `json:"undo_of,omitempty"`  // the number of the step that this one undoes
	AddedBy  *int            `json:"by,omitempty"`       // the number of the step that added this one, see [Spec.Grow]
	Optional bool            `json:"optional,omitempty"` // its failure is none of the workflow
	Options  Options         `json:"options,omitzero"`

	// Of a group.
	Jobs        int    `json:"jobs,omitempty"`         // how many there are
	Tolerate    *int   `json:"tolerate,omitempty"`     // with more failures it has failed at once; nil: with one, once all have ended
	KeepResults bool   `json:"keep_results,omitempty"` // what its jobs return is kept with the workflow
	Payloads    string `json:"payloads,omitempty"`     // names the documents of their payloads
	PayloadsRun string `json:"payloads_run,omitempty"` // of which run's these are; empty: of the workflow's own
	Items       Items  `json:"-"`                      // these, while they are to be stored
}

// Tolerates returns how many jobs of a group may fail without the group.
func (s *Step) Tolerates() int {
	if s.Tolerate == nil {
		return 0
	}
	return *s.Tolerate
}

// Layout says where the jobs of a group have their bits.
func (s *Step) Layout() Layout { return Layout{Jobs: s.Jobs, Width: ShardJobs} }

// waits reports whether s is a timer or signal: nothing works at it.
func (s *Step) waits() bool { return s.Kind == KindSleep || s.Kind == KindSignal }

// A Spec is a workflow as it is stored.
type Spec struct {
	ID       string    `json:"id"`
	Run      string    `json:"run"` // the name of this start of it
	Gen      int       `json:"gen"` // counts its retries, from 1
	Name     string    `json:"name"`
	Queue    string    `json:"queue"`
	Deadline time.Time `json:"deadline,omitzero"`
	WithinMS int64     `json:"within_ms,omitempty"` // from the start of each generation to its deadline; 0: it has none
	KeepMS   int64     `json:"keep_ms,omitempty"`   // for how long what is known of it is kept after its end; 0: [keepFor]
	FailFast bool      `json:"fail_fast,omitempty"` // the failure of a step that is not optional stops the others
	Created  time.Time `json:"created,omitzero"`
	Parent   *Member   `json:"parent,omitempty"` // the step that this one is, in another workflow
	Depth    int       `json:"depth,omitempty"`  // how many others it is inside of
	Steps    []Step    `json:"steps"`
}

// ChildOf returns the workflow that is a step of s, as it is stored.
func (s *Spec) ChildOf(gen, step int) *Spec {
	of := &s.Steps[step]
	child := *of.Child
	child.ID, child.Run, child.Gen = ChildID(s.ID, s.Run, of.Name), ChildRun(s.Run, of.Name), gen
	child.Parent, child.Depth = &Member{ID: s.ID, Run: s.Run, Gen: gen, Step: step, Job: -1}, s.Depth+1
	if child.Queue == "" {
		child.Queue = s.Queue
	}
	child.KeepMS = s.KeepMS
	return &child
}

// keepFor is for how long what is known of a workflow is kept after its end unless it says otherwise.
const keepFor = 7 * 24 * time.Hour

// KeepFor returns for how long what is known of the workflow is kept after its end.
func (s *Spec) KeepFor() time.Duration {
	if s.KeepMS == 0 {
		return keepFor
	}
	return time.Duration(s.KeepMS) * time.Millisecond
}

// DeadlineFrom returns when a generation is to have ended that begins now, zero if there is no deadline.
func (s *Spec) DeadlineFrom(now time.Time) time.Time {
	if s.WithinMS == 0 {
		return time.Time{}
	}
	return now.Add(time.Duration(s.WithinMS) * time.Millisecond).UTC()
}

// Encode returns s as it is stored, or an [*InvalidError] if it cannot be a workflow.
func (s *Spec) Encode() ([]byte, error) {
	if err := s.Check(); err != nil {
		return nil, err
	}
	data, err := json.Marshal(s)
	if err != nil {
		return nil, invalid("workflow", s.ID, "cannot be JSON: %v", err)
	}
	if len(data) > maxSpec {
		return nil, invalid("workflow", s.ID, "graph and payloads have %d bytes, at most %d are allowed", len(data), maxSpec)
	}
	return data, nil
}

// DecodeSpec is the inverse of [Spec.Encode]. The error is an [*InvalidError].
func DecodeSpec(data []byte) (*Spec, error) {
	if len(data) > maxSpec {
		return nil, invalid("workflow", "", "has %d bytes, at most %d are allowed", len(data), maxSpec)
	}
	s := new(Spec)
	if err := json.Unmarshal(data, s); err != nil {
		return nil, invalid("workflow", "", "is no JSON of one: %v", err)
	}
	if err := s.Check(); err != nil {
		return nil, err
	}
	return s, nil
}
