package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/cli"
	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/view"
)

// A ref names a job as people do: by its id, and by type and queue as far as they are known.
type ref struct{ queue, typ, id string }

func refOf(r millhand.Ref) ref { return ref{r.Queue, r.Type, r.ID} }

// String is the ref as it is read.
func (r ref) String() string {
	parts := slices.DeleteFunc([]string{r.queue, r.typ, r.id}, func(p string) bool { return p == "" })
	return strings.Join(parts, "/")
}

// parseRef reads ID, TYPE/ID or QUEUE/TYPE/ID.
func parseRef(text string) (ref, error) {
	parts := strings.Split(text, "/")
	if len(parts) > 3 {
		return ref{}, cli.Usagef("%q names no job: want ID, TYPE/ID or QUEUE/TYPE/ID", text)
	}
	r := ref{id: parts[len(parts)-1]}
	err := job.CheckID(r.id)
	if len(parts) > 1 && err == nil {
		r.typ = parts[len(parts)-2]
		err = job.CheckType(r.typ)
	}
	if len(parts) > 2 && err == nil {
		r.queue = parts[0]
		err = job.CheckQueue(r.queue)
	}
	if err != nil {
		return ref{}, cli.Usagef("%q names no job: %w", text, err)
	}
	return r, nil
}

// parseRefs reads the arguments of a command, of which - stands for those on standard input.
func parseRefs(ctx context.Context, args []string, stdin io.Reader) ([]ref, error) {
	var refs []ref
	for _, arg := range args {
		if arg != "-" {
			r, err := parseRef(arg)
			if err != nil {
				return nil, err
			}
			refs = append(refs, r)
			continue
		}
		in := cli.Interruptible(ctx, stdin)
		lines := bufio.NewScanner(in)
		for lines.Scan() {
			line := strings.TrimSpace(lines.Text())
			if line == "" {
				continue
			}
			r, err := parseRef(line)
			if err != nil {
				return nil, err
			}
			refs = append(refs, r)
		}
		_ = in.Close() // only read
		if err := lines.Err(); err != nil {
			return nil, fmt.Errorf("read names of jobs: %w", err)
		}
		stdin = strings.NewReader("")
	}
	if len(refs) == 0 {
		return nil, cli.Usagef("no job is named: want ID, TYPE/ID, QUEUE/TYPE/ID, or - for standard input")
	}
	return refs, nil
}

// lookUp completes the name of a job, which is looked for in all queues unless it has one. It is of the
// newest life.
func (s *session) lookUp(ctx context.Context, r ref) (millhand.Ref, error) {
	if r.queue != "" {
		return millhand.Ref{Queue: r.queue, Type: r.typ, ID: r.id}, nil
	}
	jobs, err := s.view.Find(ctx, r.id)
	if err != nil {
		return millhand.Ref{}, fmt.Errorf("look for job %s: %w", r, err)
	}
	var found []millhand.Ref
	var names []string
	for _, j := range jobs {
		if r.typ == "" || r.typ == j.Type {
			found = append(found, millhand.Ref{Queue: j.Queue, Type: j.Type, ID: j.ID})
			names = append(names, refOf(found[len(found)-1]).String())
		}
	}
	switch len(found) {
	case 0:
		return millhand.Ref{}, &cli.ExitError{Code: cli.ExitNotFound, Err: notThere("job", r.String(), s.noJob(ctx, r))}
	case 1:
		return found[0], nil
	}
	return millhand.Ref{}, cli.Usagef("%s names several jobs: %s; which one?", r, strings.Join(names, ", "))
}

// noneNamed is why no job is found by a name.
const noneNamed = "nothing of that name is in any queue, among the dead, or in the events that are kept"

// noJob says why no job is found: it is a step of a workflow that is held, or what was meant if a type or a queue has the name.
func (s *session) noJob(ctx context.Context, r ref) string {
	if text := s.whyHeld(ctx, r.id); text != "" {
		return text
	}
	snap, err := s.view.Snapshot(ctx)
	if err != nil || r.typ != "" {
		return noneNamed
	}
	for _, q := range snap.Queues {
		if slices.ContainsFunc(q.Types, func(t view.Type) bool { return t.Name == r.id }) {
			return "it is a type: 'millhand list type:" + r.id + "' has its jobs"
		}
		if q.Name == r.id {
			return "it is a queue: 'millhand list queue:" + r.id + "' has its jobs"
		}
	}
	return noneNamed
}

// notThere says that there is none of a kind with a name, and what to do about it.
func notThere(kind, name, advice string) error {
	return fmt.Errorf("no %s %q; %s", kind, name, advice)
}
