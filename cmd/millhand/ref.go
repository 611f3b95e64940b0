package main

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/cli"
	"github.com/millhand/millhand/internal/job"
)

// A ref names a job as people do: by its id, and by type and queue as far as they are known.
type ref struct{ queue, typ, id string }

func refOf(r millhand.Ref) ref { return ref{r.Queue, r.Type, r.ID} }

// String is the ref as it is read.
func (r ref) String() string {
	text := r.id
	if r.typ != "" {
		text = r.typ + "/" + text
	}
	if r.queue != "" {
		text = r.queue + "/" + text
	}
	return text
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
func parseRefs(args []string, stdin io.Reader) ([]ref, error) {
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
		lines := bufio.NewScanner(stdin)
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
		if err := lines.Err(); err != nil {
			return nil, fmt.Errorf("read names of jobs: %w", err)
		}
		stdin = strings.NewReader("")
	}
	return refs, nil
}

// notThere says that there is none of a kind with a name, and what to do about it.
func notThere(kind, name, advice string) error {
	return fmt.Errorf("no %s %q; %s", kind, name, advice)
}
