package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/audit"
	"github.com/millhand/millhand/internal/bulk"
	"github.com/millhand/millhand/internal/console"
	"github.com/millhand/millhand/internal/filter"
	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/queue"
)

// Plan implements [console.Source].
func (t *top) Plan(ctx context.Context, o console.Operation) (*console.Plan, error) {
	ctx, cancel := context.WithTimeout(ctx, planWithin)
	defer cancel()
	p, err := t.plan(ctx, o)
	if err != nil {
		return nil, t.asLost(err)
	}
	if act := p.Act; act != nil {
		p.Lines = append([]string{"on " + t.base.conn.Namespace + " @ " + t.base.target.String()}, p.Lines...)
		p.Act = func(ctx context.Context, tell func(string)) (string, error) {
			text, err := act(ctx, tell)
			if err != nil {
				err = t.asLost(err)
			}
			return text, err
		}
	}
	return p, nil
}

func (t *top) plan(ctx context.Context, o console.Operation) (*console.Plan, error) {
	switch o.Op {
	case console.Pause:
		return t.planPause(ctx, o)
	case console.Limit:
		return t.planLimit(ctx, o)
	case console.Drain:
		return t.planDrain(ctx, o)
	case console.Retry, console.RunNow, console.Cancel, console.Delete:
	}
	if o.All {
		return t.planFilter(ctx, o, o.Screen.Filter)
	}
	if o.Screen.Kind == console.Dead {
		return t.planGroups(ctx, o)
	}
	if o.Op == console.Delete {
		return t.planDeletes(ctx, o)
	}
	return t.planJobs(ctx, o)
}

// kindOfOp is what an operation does to jobs.
func kindOfOp(o console.Op) bulk.Kind {
	switch o { //nolint:exhaustive // the others are done to no jobs
	case console.Retry:
		return bulk.Retry
	case console.RunNow:
		return bulk.Start
	case console.Delete:
		return bulk.Delete
	}
	return bulk.Cancel
}

// planJobs is about jobs that are named, each by itself.
func (t *top) planJobs(ctx context.Context, o console.Operation) (*console.Plan, error) {
	b := &bulker{kind: kindOfOp(o.Op)}
	do, done, one, many := b.verbs()
	refs, err := parseRefs(ctx, o.Names, strings.NewReader(""))
	if err != nil {
		return nil, err
	}
	act := map[console.Op]func(ctx context.Context, s *session, r millhand.Ref) outcome{
		console.Retry:  func(ctx context.Context, s *session, r millhand.Ref) outcome { return s.retry(ctx, r, false, nil) },
		console.RunNow: func(ctx context.Context, s *session, r millhand.Ref) outcome { return s.runNow(ctx, r) },
		console.Cancel: func(ctx context.Context, s *session, r millhand.Ref) outcome { return s.cancel(ctx, r, 0, nil) },
	}[o.Op]
	command := "millhand " + string(b.kind) + " " + strings.Join(o.Names, " ")
	return &console.Plan{
		Title: b.asked(len(refs)), Lines: append(named(o.Names), linesOf(b.kind)...), Do: do, Type: toType(len(refs)), Command: command,
		Act: func(ctx context.Context, _ func(string)) (string, error) {
			s, out, warnings := t.quiet()
			err := s.act(ctx, audit.Action(b.kind), false, refs, func(ctx context.Context, r millhand.Ref) outcome { return act(ctx, s, r) })
			if len(refs) == 1 {
				return lastLine(out.String()), firstWarning(err, warnings.String())
			}
			if err != nil {
				return "", err
			}
			return done + " " + plural(len(refs), one, many), nil
		},
	}, nil
}

// toType is what has to be typed before something is done to n jobs.
func toType(n int) string {
	if n <= typed {
		return ""
	}
	return strconv.Itoa(n)
}

// named are the first names.
func named(names []string) []string {
	const most = 3
	lines := append([]string{}, names[:min(len(names), most)]...)
	if more := len(names) - most; more > 0 {
		lines = append(lines, fmt.Sprintf("and %d more", more))
	}
	return lines
}

// linesOf are what is to be known of an operation on jobs.
func linesOf(k bulk.Kind) []string {
	switch k {
	case bulk.Retry:
		return []string{"They start again from attempt 1, under the same ids."}
	case bulk.Delete:
		return []string{"They cannot be retried any more. What is known of how they ended stays."}
	case bulk.Start:
		return []string{"They do not wait for their time any more."}
	case bulk.Cancel:
	}
	return []string{"It cannot be undone. The handler of one that runs is told to end."}
}

// planGroups is about all jobs of groups of dead ones.
func (t *top) planGroups(ctx context.Context, o console.Operation) (*console.Plan, error) {
	return t.planFilter(ctx, o, "state:dead group:"+strings.Join(o.Names, ",")+" "+o.Screen.Filter)
}

// planDeletes is about dead jobs that are named, which only a filter does. They are of one queue and type.
func (t *top) planDeletes(ctx context.Context, o console.Operation) (*console.Plan, error) {
	var ids []string
	first := ""
	for _, name := range o.Names {
		part, id, err := partAndID(name)
		if err != nil {
			return nil, err
		}
		if first == "" {
			first = part
		}
		if part != first {
			return nil, errors.New("these are of several types: mark those of one, or filter by their type")
		}
		ids = append(ids, id)
	}
	queueName, typ, _ := strings.Cut(first, "/")
	return t.planFilter(ctx, o, fmt.Sprintf("queue:%s type:%s id:%s", queueName, typ, strings.Join(ids, ",")))
}

func partAndID(name string) (part, id string, err error) {
	r, err := parseRef(name)
	return r.queue + "/" + r.typ, r.id, err
}

// planFilter is about all jobs that a filter means, as they are now.
func (t *top) planFilter(ctx context.Context, o console.Operation, text string) (*console.Plan, error) {
	b := &bulker{kind: kindOfOp(o.Op)}
	f, err := filter.Parse(strings.TrimSpace(text))
	if err == nil {
		f, err = b.kind.Meant(f, false)
	}
	if err != nil {
		return nil, err
	}
	s, _, _ := t.quiet()
	snap, err := s.view.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	op := bulk.Operation{Filter: f, Before: snap.At}
	look, err := bulk.Look(ctx, s.view, op)
	if err != nil {
		return nil, err
	}
	n := look.Matched
	if n == 0 {
		return nil, errors.New("no job matches any more: nothing to do")
	}
	do, _, _, _ := b.verbs()
	lines := []string{"filter   " + f.String()}
	if took := time.Duration(n) * time.Second / bulk.DefaultRate; took >= time.Second {
		lines = append(lines, fmt.Sprintf("pace     %d a second, about %s", bulk.DefaultRate, span(took)))
	}
	command := "millhand " + string(b.kind)
	if b.kind == bulk.Delete {
		command = "millhand dead delete"
	}
	return &console.Plan{
		Title: b.asked(n), Lines: append(lines, linesOf(b.kind)...), Do: do, Type: toType(n), Command: command + " --filter '" + f.String() + "'",
		Act: func(ctx context.Context, tell func(string)) (string, error) { return t.runMany(ctx, b, op, look, tell) },
	}, nil
}

// progressEvery is how often it is told how far an operation has come.
const progressEvery = time.Second

// runMany does something to all jobs that an operation means, and says what became of them.
func (t *top) runMany(ctx context.Context, b *bulker, op bulk.Operation, look *bulk.Looked, tell func(string)) (string, error) {
	s, out, warnings := t.quiet()
	pace := bulk.NewPace(bulk.DefaultRate)
	t.base.pace.Store(pace)
	began := time.Now()
	note := b.auditing(context.WithoutCancel(ctx), s, op.Filter, look.Matched) // its end is noted, too, if it is stopped
	last := began
	report, err := bulk.Run(ctx, s.view, op, s.bulkAction(b.kind), pace, func(r bulk.Report) {
		note.soFar(&r)
		if time.Since(last) >= progressEvery {
			last = time.Now()
			tell(fmt.Sprintf("%s: %s of %s", b.kind, thousands(int64(r.Done+r.RefusedTotal()+r.Failed)), thousands(int64(look.Matched))))
		}
	})
	note.ended(&report, err)
	result := &bulkResult{Looked: look, Report: report, TookMS: time.Since(began).Milliseconds()}
	if failed := b.say(s, result, look.Matched, bulk.DefaultRate); failed != nil {
		return "", failed
	}
	if errors.Is(err, context.Canceled) {
		return lastLine(out.String()) + "; stopped, the rest is as it was", nil
	}
	if err == nil && report.Failed > 0 {
		err = firstWarning(b.outcome(s, &report, nil), warnings.String())
	}
	return lastLine(out.String()), err
}

// bulkAction is what does it to one job.
func (s *session) bulkAction(k bulk.Kind) bulk.Action {
	switch k {
	case bulk.Retry:
		return &bulk.Retrier{Store: s.store, How: queue.Revival{}}
	case bulk.Delete:
		return &bulk.Deleter{Store: s.store}
	case bulk.Start:
		return &bulk.Starter{Store: s.store}
	case bulk.Cancel:
	}
	return &bulk.Canceller{Store: s.store, Orders: s.registry, Order: job.Order{Grace: job.DefaultGrace, By: s.by}}
}

// lastLine is the last line of what a command printed, which says what it did.
func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}

// firstWarning is why a command failed: what it said, if it said anything.
func firstWarning(err error, said string) error {
	if said = strings.TrimPrefix(lastLine(said), "millhand: "); said != "" && err != nil {
		return errors.New(said)
	}
	return err
}
