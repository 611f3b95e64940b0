package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/answer"
	"github.com/millhand/millhand/internal/cli"
	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/view"
)

// An inspector is the command inspect.
type inspector struct {
	events  bool
	stack   bool
	payload string
	watch   bool
}

func inspectCommand(a *app) *cobra.Command {
	c := &inspector{}
	cmd := a.command(spec{
		use:   "inspect REF...",
		short: "Everything about a job",
		long: "Everything about a job: where it is, its payload, its attempts and what its worker says. A job that\n" +
			"ended is known for as long as its events are kept, a dead one for as long as its record is.",
		example: "  millhand inspect import/0192f3c0-80b1-7f55-b0aa-112233445566\n  millhand inspect 0192f3c0-80b1-7f55-b0aa-112233445566 --stack\n" +
			"  millhand inspect email/welcome-42 --payload pretty\n  millhand inspect email/welcome-42 --watch",
		formats: []format{formatText, formatJSON, formatNDJSON},
		args:    cobra.MinimumNArgs(1),
		run:     c.run,
	})
	cmd.Flags().BoolVar(&c.events, "events", false, "list all events that are kept, of all lives of the id")
	cmd.Flags().BoolVar(&c.stack, "stack", false, "print the stacks of panics")
	cmd.Flags().StringVar(&c.payload, "payload", "", "print the payload alone: `raw` or pretty; or write it to FILE")
	cmd.Flags().BoolVar(&c.watch, "watch", false, "go on with a line for each change, until it has ended")
	return cmd
}

func (c *inspector) run(ctx context.Context, s *session, args []string) error {
	refs, err := parseRefs(ctx, args, s.in)
	if err != nil {
		return err
	}
	if len(refs) > 1 && (c.watch || c.payload != "" || s.output == formatJSON) {
		return cli.Usagef("--watch, --payload and -o json are for one job; several are printed with -o ndjson")
	}
	for i, r := range refs {
		found, err := s.lookUp(ctx, r)
		if err != nil {
			return err
		}
		if i > 0 && s.output == formatText {
			if err := s.say(""); err != nil {
				return err
			}
		}
		if err := c.inspect(ctx, s, found); err != nil {
			return err
		}
	}
	return nil
}

func (c *inspector) inspect(ctx context.Context, s *session, r millhand.Ref) error {
	p, err := job.PlaceOf(r.Queue, r.Type, r.ID)
	if err != nil {
		return asUsage(err)
	}
	d, err := s.view.Job(ctx, p, "")
	if errors.Is(err, queue.ErrNotFound) {
		return &cli.ExitError{Code: cli.ExitNotFound, Err: notThere("job", refOf(r).String(), "nothing is in the queue, among the dead, or in the events that are kept")}
	}
	if err != nil {
		return fmt.Errorf("look at job %s: %w", refOf(r), err)
	}
	switch {
	case c.payload != "":
		return s.writePayload(d, c.payload)
	case s.output == formatJSON:
		return s.json(answer.DetailOf(d, d.Payload))
	case s.output == formatNDJSON:
		return s.jsonLine(answer.DetailOf(d, d.Payload))
	}
	if err := c.show(s, d); err != nil || !c.watch {
		return err
	}
	return s.watchJob(ctx, millhand.Ref{Queue: r.Queue, Type: r.Type, ID: r.ID, Life: d.Life})
}

// writePayload prints the payload by itself, or writes it to a file.
func (s *session) writePayload(d *view.Detail, how string) error {
	if d.Payload == nil && d.Size > 0 || d.State.Final() && d.Message == nil && d.Dead == nil {
		return exitWith(cli.ExitNotFound, errors.New("the payload is not kept any more: of a job that has ended, only a dead one's is"))
	}
	switch how {
	case "raw":
		_, err := s.out.Write(d.Payload)
		return err
	case "pretty":
		var b bytes.Buffer
		if err := json.Indent(&b, d.Payload, "", "  "); err != nil {
			return cli.Usagef("the payload is no JSON: --payload raw prints it as it is")
		}
		_, err := fmt.Fprintln(s.out, b.String())
		return err
	}
	const private = 0o600 // it may hold what is nobody's business
	return os.WriteFile(how, d.Payload, private)
}

// shownPayload is how much of a payload stands in the text.
const shownPayload = 400

// show prints a job as lines of a title and a text.
func (c *inspector) show(s *session, d *view.Detail) error {
	var lines [][2]string
	add := func(title, format string, args ...any) {
		lines = append(lines, [2]string{title, fmt.Sprintf(format, args...)})
	}
	add("job", "%s   %s", ref{d.Queue, d.Type, d.ID}, s.stateText(d))
	if d.Life != "" {
		add("life", "%s", d.Life)
	}
	if !d.EnqueuedAt.IsZero() {
		add("enqueued", "%s (%s)%s", s.moment(d.EnqueuedAt), s.ago(d.EnqueuedAt), traceText(d.Trace))
	}
	if !d.RunAt.IsZero() && !d.State.Final() {
		add("due", "%s (in %s)", s.moment(d.RunAt), span(max(d.RunAt.Sub(s.now), 0)))
	}
	if d.Payload != nil {
		add("payload", "%s   %s B", cli.Shorten(payloadText(d.Payload), shownPayload), thousands(int64(d.Size)))
	}
	for i, k := range slices.Sorted(maps.Keys(d.Meta)) {
		add(once("meta", i), "%s=%s", k, d.Meta[k])
	}
	for i, text := range s.attempts(d) {
		add(once("attempts", i), "%s", text)
	}
	if r := resultOf(d); r != "" {
		add("result", "%s", r)
	}
	if d.Hold != nil {
		add("id", "stays taken until %s", s.moment(d.Hold.Until))
	}
	add("now", "%s", s.nowText(d))
	for _, l := range lines {
		if _, err := fmt.Fprintf(s.out, " %-9s %s\n", l[0], cli.OneLine(l[1])); err != nil {
			return err
		}
	}
	if c.events {
		if err := s.showEvents(d); err != nil {
			return err
		}
	}
	if c.stack {
		return s.showStacks(d)
	}
	return nil
}

// once is a title on the first of several lines.
func once(title string, i int) string {
	if i > 0 {
		return ""
	}
	return title
}

func traceText(trace string) string {
	if trace == "" {
		return ""
	}
	return ", trace " + trace
}

func payloadText(b []byte) string {
	if !utf8.Valid(b) {
		return "(bytes that are no text; --payload raw prints them)"
	}
	return string(b)
}

func (s *session) stateText(d *view.Detail) string {
	text := string(d.State)
	if d.Reason != "" {
		text += ", " + d.Reason
	}
	if d.Attempt > 0 {
		text += fmt.Sprintf(" (attempt %d%s)", d.Attempt, ofMax(d.MaxAttempts))
	}
	if d.Crashes > 0 {
		text += ", lost its worker " + plural(d.Crashes, "time", "times")
	}
	return text
}

func ofMax(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(" of %d", n)
}

// attempts are the runs of the newest life that have ended.
func (s *session) attempts(d *view.Detail) []string {
	var runs []string
	for _, e := range d.Events {
		if e.Life != d.Life {
			continue
		}
		text := fmt.Sprintf("%-2d %s  %s  %s", e.Attempt, s.moment(e.Time), e.Node, e.Kind)
		if !e.StartedAt.IsZero() {
			text = fmt.Sprintf("%-2d %s  %s  %s  %s", e.Attempt, s.moment(e.StartedAt), e.Node, span(e.Time.Sub(e.StartedAt)), e.Kind)
		}
		if e.Error != "" {
			text += ": " + e.Error
		}
		runs = append(runs, text)
		if e.Trace != "" {
			runs = append(runs, "   trace "+e.Trace)
		}
	}
	if len(runs) > 0 || d.Dead == nil {
		return runs
	}
	for _, f := range d.Dead.Failures { // its events are not kept any more
		runs = append(runs, fmt.Sprintf("%-2d %s  %s  %s", f.Attempt, s.moment(f.Time), f.Node, f.Error))
	}
	return runs
}

// resultOf is what the handler of a job that succeeded returned.
func resultOf(d *view.Detail) string {
	n := len(d.Events)
	if n == 0 || d.State != job.Succeeded {
		return ""
	}
	switch e := d.Events[n-1]; {
	case len(e.Result) > 0:
		return cli.Shorten(string(e.Result), shownPayload)
	case len(e.ResultBase64) > 0:
		return fmt.Sprintf("%d bytes that are no text; -o json has them", len(e.ResultBase64))
	}
	return ""
}

// nowText is what the job does, and the command that goes on from there.
func (s *session) nowText(d *view.Detail) string {
	r := ref{d.Queue, d.Type, d.ID}
	if d.Type == job.WorkflowType && !strings.Contains(d.ID, "--") { // which a retry or run does not move on
		return string(d.State) + ": millhand workflow show " + d.ID + " has its steps"
	}
	switch d.State {
	case job.Running:
		text := fmt.Sprintf("runs on %s for %s", d.Worker, span(max(s.now.Sub(d.Since), 0)))
		if p := d.Running; p != nil && p.Progress != nil {
			text += ", " + progressText(millhand.Progress(*p.Progress))
		}
		return text + ": millhand why " + r.String() + ", or millhand cancel " + r.String() + " ends it"
	case job.Ready:
		return "waits for a worker: millhand why " + r.String()
	case job.Scheduled, job.Retrying:
		return "waits for its time: millhand run " + r.String() + " starts it now"
	case job.Dead:
		if d.Dead == nil {
			return "dead; its record is not kept any more"
		}
		return "dead: millhand retry " + r.String() + " has it run again"
	case job.Succeeded, job.Cancelled:
	}
	return "ended " + s.ago(d.Since)
}

// showEvents lists all events.
func (s *session) showEvents(d *view.Detail) error {
	if err := s.say(""); err != nil {
		return err
	}
	l := &listing[queue.Event]{
		columns: []column{{title: "TIME"}, {title: "EVENT"}, {title: "ATTEMPT", right: true}, {title: "WORKER"}, {title: "LIFE", spare: true}, {title: "ERROR"}},
		row: func(e queue.Event) []cell {
			return []cell{plain(s.moment(e.Time)), plain(string(e.Kind)), number(e.Attempt), plain(e.Node), plain(e.Life), plain(strings.TrimSpace(e.Reason + " " + e.Error))}
		},
		empty: "no events are kept",
	}
	return l.print(s.app, d.Events)
}

// showStacks prints the stacks of all panics, each below its attempt.
func (s *session) showStacks(d *view.Detail) error {
	stacks := 0
	for _, e := range d.Events {
		if e.Stack == "" {
			continue
		}
		stacks++
		if _, err := fmt.Fprintf(s.out, "\nattempt %d:\n%s", e.Attempt, indented(e.Stack)); err != nil {
			return err
		}
	}
	if stacks == 0 {
		return s.say(" no stack is kept: they are of panics")
	}
	return nil
}

// indented is a text of several lines of others.
func indented(text string) string {
	var b strings.Builder
	for l := range strings.Lines(text) {
		l = strings.ReplaceAll(strings.TrimRight(l, "\n"), "\t", "    ")
		b.WriteString("  " + strings.Repeat(" ", len(l)-len(strings.TrimLeft(l, " "))) + cli.OneLine(l) + "\n")
	}
	return b.String()
}

// watchJob prints a line for each change of a job.
func (s *session) watchJob(ctx context.Context, r millhand.Ref) error {
	for info, err := range s.client.Watch(ctx, r) {
		if err != nil {
			return err
		}
		text := fmt.Sprintf(" %s  %s", s.moment(time.Now()), info.State)
		if info.Worker != "" {
			text += " on " + info.Worker
		}
		if p := progressText(info.Progress); p != "" {
			text += ", " + p
		}
		if e := info.LastError(); e != "" && info.State != millhand.Running {
			text += ": " + e
		}
		if err := s.say(" %s", cli.OneLine(text)); err != nil {
			return err
		}
	}
	return nil
}
