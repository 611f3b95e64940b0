package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/audit"
	"github.com/millhand/millhand/internal/cli"
	"github.com/millhand/millhand/internal/filter"
	"github.com/millhand/millhand/internal/timespan"
)

// A workflowFile is a workflow as people write it.
type workflowFile struct {
	ID       string         `json:"id"`
	Name     string         `json:"name"`
	Queue    string         `json:"queue"`
	Deadline string         `json:"deadline"`
	Keep     string         `json:"keep"`
	FailFast bool           `json:"fail_fast"`
	Steps    []workflowStep `json:"steps"`
}

type workflowStep struct {
	Name         string             `json:"name"`
	Type         string             `json:"type"`
	Args         json.RawMessage    `json:"args"`
	Queue        string             `json:"queue"`
	MaxAttempts  int                `json:"max_attempts"`
	Sleep        string             `json:"sleep"`
	Signal       bool               `json:"signal"`
	Workflow     *workflowFile      `json:"workflow"`
	Items        *[]json.RawMessage `json:"items"`
	Tolerate     *int               `json:"tolerate"`
	KeepResults  bool               `json:"keep_results"`
	After        []string           `json:"after"`
	AfterEnd     []string           `json:"after_end"`
	AfterFailure []string           `json:"after_failure"`
	AfterAny     []string           `json:"after_any"`
	Early        bool               `json:"early"`
	Optional     bool               `json:"optional"`
	Undo         *struct {
		Type string          `json:"type"`
		Args json.RawMessage `json:"args"`
	} `json:"undo"`
}

func workflowStartCommand(a *app) *cobra.Command {
	return a.command(spec{
		use:   "start FILE",
		short: "Start a workflow that a file describes",
		long: "Start a workflow that a file of JSON describes, - for standard input. It has name, id,\n" +
			"queue, deadline, keep and fail_fast, none of which it needs, and steps. Each step has a name and\n" +
			"one of these: type and args of its job; type and items, the args of many jobs, with tolerate\n" +
			"and keep_results; sleep with a duration; signal; workflow with one like this. after, after_end,\n" +
			"after_failure, perhaps early, and after_any name steps above it; optional, queue, max_attempts\n" +
			"and undo, with a type and args, say the rest.",
		example: "  millhand workflow start import.json\n  jq .workflow jobs.json | millhand workflow start -",
		formats: []format{formatText, formatJSON},
		args:    cobra.ExactArgs(1),
		run: func(ctx context.Context, s *session, args []string) error {
			w, err := readWorkflow(args[0], s.in)
			if err != nil {
				return err
			}
			ref, err := s.client.Start(ctx, w)
			if duplicate, ok := errors.AsType[*millhand.DuplicateError](err); ok {
				return exitWith(cli.ExitRefused, duplicate)
			}
			if err != nil {
				return asUsage(err)
			}
			return s.done(ctx, ref, "started", audit.Record{Action: audit.StartWorkflow})
		},
	})
}

func readWorkflow(name string, stdin io.Reader) (*millhand.Workflow, error) {
	var text []byte
	var err error
	if name == "-" {
		text, err = io.ReadAll(stdin)
	} else {
		text, err = os.ReadFile(name)
	}
	if err != nil {
		return nil, cli.Usagef("read the workflow: %w", err)
	}
	var f workflowFile
	if err := decodeStrictly(text, &f); err != nil {
		return nil, cli.Usagef("%s is no workflow: %w", name, err)
	}
	return f.build()
}

// decodeStrictly reads one JSON text that has nothing which is not known.
func decodeStrictly(text []byte, to any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(to); err != nil {
		wrong, ok := errors.AsType[*json.UnmarshalTypeError](err)
		switch {
		case errors.Is(err, io.EOF):
			return errors.New("it is empty")
		case ok && wrong.Field == "":
			return fmt.Errorf("want an object, and not %s", wrong.Value)
		case ok:
			return fmt.Errorf("%s: want another type than %s", wrong.Field, wrong.Value)
		}
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is something behind it")
	}
	return nil
}

func (f *workflowFile) build() (*millhand.Workflow, error) {
	cfg := millhand.WorkflowConfig{ID: f.ID, Queue: f.Queue, FailFast: f.FailFast}
	var err error
	if f.Deadline != "" {
		if cfg.Deadline, err = filter.Duration(f.Deadline); err != nil {
			return nil, cli.Usagef("deadline: %w", err)
		}
	}
	if f.Keep != "" {
		if cfg.Keep, err = filter.Duration(f.Keep); err != nil {
			return nil, cli.Usagef("keep: %w", err)
		}
	}
	w := millhand.NewWorkflow(f.Name, cfg)
	known := make(map[string]*millhand.Step)
	for i := range f.Steps {
		s := &f.Steps[i]
		opts, err := s.options(known, f.Steps[i:])
		if err != nil {
			return nil, err
		}
		if known[s.Name], err = s.add(w, opts); err != nil {
			return nil, err
		}
	}
	return w, nil
}

func (s *workflowStep) add(w *millhand.Workflow, opts []millhand.StepOption) (*millhand.Step, error) {
	if s.Type == "" && (s.Args != nil || s.Queue != "" || s.MaxAttempts != 0) && (s.Signal || s.Sleep != "") {
		return nil, cli.Usagef("step %q: waits and runs no job, so it takes no args, queue and max_attempts", s.Name)
	}
	if s.Items != nil {
		return s.addGroup(w, opts)
	}
	if s.Tolerate != nil || s.KeepResults {
		return nil, cli.Usagef("step %q: has no items, so it takes no tolerate and keep_results", s.Name)
	}
	if s.Workflow != nil {
		if s.Type != "" || s.Args != nil || s.Signal || s.Sleep != "" || s.Queue != "" || s.MaxAttempts != 0 || s.Items != nil {
			return nil, cli.Usagef("step %q: is a workflow, so it takes no type, args, items, queue, max_attempts, sleep and signal", s.Name)
		}
		inner, err := s.Workflow.build()
		if err != nil {
			return nil, err
		}
		return w.Workflow(s.Name, inner, opts...), nil
	}
	switch {
	case s.Signal && s.Sleep == "" && s.Type == "":
		return w.Signal(s.Name, opts...), nil
	case s.Sleep != "" && !s.Signal && s.Type == "":
		d, err := filter.Duration(s.Sleep)
		if errors.Is(err, timespan.ErrTooLong) {
			return nil, cli.Usagef("step %q: sleep %q: too long: at most 3650d", s.Name, s.Sleep)
		}
		if err != nil {
			return nil, cli.Usagef("step %q: sleep: %w", s.Name, err)
		}
		return w.Sleep(s.Name, d, opts...), nil
	case s.Type != "" && !s.Signal && s.Sleep == "":
		return w.Step(s.Name, millhand.Raw{Name: s.Type, Payload: s.Args}, opts...), nil
	}
	return nil, cli.Usagef("step %q: want one of type, sleep and signal", s.Name)
}

// addGroup adds a step of a job for each of its items.
func (s *workflowStep) addGroup(w *millhand.Workflow, opts []millhand.StepOption) (*millhand.Step, error) {
	if s.Type == "" || s.Args != nil || s.Signal || s.Sleep != "" {
		return nil, cli.Usagef("step %q: has items, so it takes a type, and no args, sleep and signal", s.Name)
	}
	if s.Tolerate != nil {
		opts = append(opts, millhand.Tolerate(*s.Tolerate))
	}
	if s.KeepResults {
		opts = append(opts, millhand.KeepResults())
	}
	return w.Group(s.Name, func(yield func(millhand.Args) bool) {
		for _, payload := range *s.Items {
			if !yield(millhand.Raw{Name: s.Type, Payload: payload}) {
				return
			}
		}
	}, opts...), nil
}

// notAbove says why a step cannot come after one that is not above it.
func (s *workflowStep) notAbove(name string, below []workflowStep) error {
	switch {
	case name == s.Name:
		return cli.Usagef("step %q comes after itself", s.Name)
	case slices.ContainsFunc(below, func(b workflowStep) bool { return b.Name == name }):
		return cli.Usagef("step %q comes after %q, which is below it: steps come after those above them, so that none waits for itself", s.Name, name)
	}
	return cli.Usagef("step %q comes after %q, and no step above it is called so", s.Name, name)
}

// options are those of a step, of which some are known, that are above it, and itself and others are below.
func (s *workflowStep) options(known map[string]*millhand.Step, below []workflowStep) (opts []millhand.StepOption, err error) {
	for _, c := range []struct {
		names  []string
		option func(...*millhand.Step) millhand.StepOption
	}{{s.After, millhand.After}, {s.AfterEnd, millhand.AfterEnd}, {s.AfterFailure, millhand.AfterFailure}, {s.AfterAny, millhand.AfterAny}} {
		if len(c.names) == 0 {
			continue
		}
		var steps []*millhand.Step
		for _, name := range c.names {
			step, ok := known[name]
			if !ok {
				return nil, s.notAbove(name, below)
			}
			steps = append(steps, step)
		}
		opts = append(opts, c.option(steps...))
	}
	if s.Early {
		opts = append(opts, millhand.Early())
	}
	if s.Optional {
		opts = append(opts, millhand.Optional())
	}
	if s.Undo != nil {
		opts = append(opts, millhand.Undo(millhand.Raw{Name: s.Undo.Type, Payload: s.Undo.Args}))
	}
	var enqueue []millhand.EnqueueOption
	if s.Queue != "" {
		enqueue = append(enqueue, millhand.WithQueue(s.Queue))
	}
	if s.MaxAttempts != 0 {
		enqueue = append(enqueue, millhand.WithMaxAttempts(s.MaxAttempts))
	}
	if len(enqueue) > 0 {
		opts = append(opts, millhand.Enqueue(enqueue...))
	}
	return opts, nil
}
