package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/console"
	"github.com/millhand/millhand/internal/view"
)

// printed has a command run, and returns what it says at the end.
func (t *top) printed(run func(s *session) error) (string, error) {
	s, out, warnings := t.quiet()
	err := run(s)
	text := strings.Join(strings.Fields(strings.ReplaceAll(strings.TrimSpace(out.String()), "\n", "; ")), " ")
	return text, firstWarning(err, warnings.String())
}

// planPause pauses queues or types, or ends their pauses if all of them are paused.
func (t *top) planPause(ctx context.Context, o console.Operation) (*console.Plan, error) {
	s, _, _ := t.quiet()
	paused, err := s.pausedParts(ctx)
	if err != nil {
		return nil, err
	}
	resume := !slices.ContainsFunc(o.Names, func(name string) bool {
		queue, typ, _ := strings.Cut(name, "/")
		return !paused[part{queue, typ}]
	})
	names := strings.Join(o.Names, " ")
	if resume {
		p := &pauser{resume: true}
		return &console.Plan{
			Title: "resume " + strings.Join(o.Names, ", "), Lines: []string{"Workers take its jobs again within a second."}, Do: "resume", Command: "millhand resume " + names,
			Act: func(ctx context.Context, _ func(string)) (string, error) {
				return t.printed(func(s *session) error { return p.run(ctx, s, o.Names) })
			},
		}, nil
	}
	if o.Value == nil {
		return &console.Plan{Prompt: "pause " + strings.Join(o.Names, ", ") + "; the reason, for those who see it (may be empty):"}, nil
	}
	p := &pauser{reason: *o.Value, limited: func() bool { return false }}
	command := "millhand pause " + names
	if p.reason != "" {
		command += " --reason " + strconv.Quote(p.reason)
	}
	return &console.Plan{
		Title: "pause " + strings.Join(o.Names, ", "), Do: "pause", Command: command,
		Lines: []string{"Workers take no more of its jobs within a second, until it is resumed. What runs goes on."},
		Act: func(ctx context.Context, _ func(string)) (string, error) {
			return t.printed(func(s *session) error { return p.run(ctx, s, o.Names) })
		},
	}, nil
}

// planLimit changes a limit: that which is named "quota POOL" or "rate POOL", or the quota of a type.
func (t *top) planLimit(ctx context.Context, o console.Operation) (*console.Plan, error) {
	if len(o.Names) > 1 {
		return nil, errors.New("one limit at a time: take the marks away")
	}
	l, pool := limitNamed(o.Names[0])
	s, _, _ := t.quiet()
	snap, err := s.view.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	now := currentLimit(snap, l, pool)
	if o.Value == nil {
		return &console.Plan{Prompt: fmt.Sprintf("%s of %s (%s; 0 for none):", l.word(), pool, "such as "+l.exampleOf()), Value: now}, nil
	}
	return &console.Plan{
		Title: fmt.Sprintf("set the %s of %s to %s", l.word(), pool, *o.Value), Do: "set", Command: "millhand " + l.word() + " " + pool + " " + *o.Value,
		Lines: []string{"It is " + now + " now. It holds within a second; what runs goes on to its end."},
		Act: func(ctx context.Context, _ func(string)) (string, error) {
			return t.printed(func(s *session) error { return l.set(ctx, s, pool, *o.Value) })
		},
	}, nil
}

// limitNamed tells which limit a row is about: of Limits its name, of types QUEUE/TYPE.
func limitNamed(name string) (l *limiter, pool string) {
	if pool, ok := strings.CutPrefix(name, "rate "); ok {
		return &limiter{rate: true}, pool
	}
	if pool, ok := strings.CutPrefix(name, "quota "); ok {
		return &limiter{}, pool
	}
	_, typ, _ := strings.Cut(name, "/")
	return &limiter{}, typ
}

// currentLimit is a limit as it is written.
func currentLimit(snap *view.Snapshot, l *limiter, pool string) string {
	for i := range snap.Pools {
		if p := &snap.Pools[i]; p.Name == pool && p.Rate == l.rate {
			return strings.ReplaceAll(limitCell(p).text, ",", "")
		}
	}
	return "0"
}

// planDrain drains workers, or ends that if all of them do.
func (t *top) planDrain(ctx context.Context, o console.Operation) (*console.Plan, error) {
	workers, err := t.base.client.Workers(ctx)
	if err != nil {
		return nil, err
	}
	if workers, err = chosen(workers, o.Names); err != nil {
		return nil, err
	}
	d := &drainer{end: !slices.ContainsFunc(workers, func(w millhand.WorkerInfo) bool { return w.State == millhand.WorkerWorking })}
	do, line := "drain", "They take no new jobs, for an hour or until that is ended. What runs goes on to its end."
	if d.end {
		do, line = "undrain", "They take jobs again, unless they stop."
	}
	return &console.Plan{
		Title: do + " " + strings.Join(o.Names, ", "), Lines: []string{line}, Do: do, Command: "millhand workers " + do + " " + strings.Join(o.Names, " "),
		Act: func(ctx context.Context, _ func(string)) (string, error) {
			return t.printed(func(s *session) error { return d.run(ctx, s, o.Names) })
		},
	}, nil
}
