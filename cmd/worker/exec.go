package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/minder"
)

// Exit codes by which a command says what follows. 0 is success; any other one is an
// error, retried like exitRetry.
const (
	exitRetry     = 75  // EX_TEMPFAIL of sysexits.h; a [control] says when, if the backoff is not to
	exitPermanent = 100 // no further attempt
)

// Variables by which a command learns of its job.
const (
	envID      = "MILLHAND_ID"
	envType    = "MILLHAND_TYPE"
	envQueue   = "MILLHAND_QUEUE"
	envAttempt = "MILLHAND_ATTEMPT"
	envTick    = "MILLHAND_TICK"    // of a job of a schedule
	envControl = "MILLHAND_CONTROL" // the number of a descriptor
	envMeta    = "MILLHAND_META_"   // prefix; the key in upper case, - as _

	// As OpenTelemetry's tools read them.
	envTraceParent = "TRACEPARENT"
	envTraceState  = "TRACESTATE"
)

// A commandType runs its jobs as commands: the payload is standard input, and what a command
// writes to its standard output is the result, byte for byte. The end of its standard
// error is the text of a failure.
type commandType struct {
	minder  *minder.Minder
	trouble *trouble
	argv    []string
	env     []string // of every command
}

func (c *commandType) handle(ctx context.Context, j *millhand.Job[millhand.Raw]) ([]byte, error) {
	return c.trouble.patiently(ctx, func() ([]byte, error) {
		said := &control{log: j.Logger(), progress: j.Progress}
		res, err := c.minder.Run(ctx, minder.Command{
			Argv: c.argv, Env: environment(c.env, j), Stdin: j.Args.Payload, Until: j.LeaseUntil, Control: said,
			Stopped: func() time.Duration { return min(millhand.Grace(ctx), minder.DefaultGrace) },
		})
		said.end()
		if errors.Is(err, minder.ErrMinderDied) && c.trouble.minderDied(j.Ref) {
			return nil, millhand.HandBack(err)
		}
		if !errors.Is(err, minder.ErrMinderDied) {
			c.trouble.ended(j.Ref)
		}
		return verdict(res, err, context.Cause(ctx), said.later)
	})
}

// verdict is what follows for a job from how its command ended, stopped if there is a cause.
// What it said of a retry is in later, if it said anything.
func verdict(res minder.Result, err, cause error, later func(error) error) ([]byte, error) {
	switch {
	case errors.Is(err, minder.ErrLeaseEnded), errors.Is(err, minder.ErrClosed):
		return nil, millhand.HandBack(err) // it did nothing wrong
	case errors.Is(err, minder.ErrOutputTooLarge):
		return nil, millhand.Permanent(fmt.Errorf("%w: as a result it is too large; have it write to a file or to standard error%s", err, said(res)))
	case err != nil && errors.Is(err, millhand.ErrCancelled) && res.ExitCode == 0:
		return res.Stdout, nil // it was told to stop, and had done its work
	case err != nil && cause != nil && errors.Is(err, cause):
		return nil, fmt.Errorf("command stopped: %s", failure(res))
	case err != nil:
		return nil, fmt.Errorf("%w%s", err, said(res))
	case res.ExitCode == 0:
		return res.Stdout, nil
	case res.ExitCode == exitPermanent:
		return nil, millhand.Permanent(errors.New(failure(res)))
	case res.ExitCode == exitRetry && later != nil:
		return nil, later(errors.New(failure(res)))
	}
	return nil, errors.New(failure(res))
}

// said is what a command wrote to standard error, to stand behind something else.
func said(res minder.Result) string {
	if len(bytes.TrimSpace(res.Stderr)) == 0 {
		return ""
	}
	return ": " + failure(res)
}

// secretVariables are those of the worker's environment that are not for its commands:
// how to connect to the broker, and what headers of http types are made of.
func (c *config) secretVariables() func(name string) bool {
	named := make(map[string]bool)
	for _, t := range c.Types {
		if t.HTTP == nil {
			continue
		}
		for _, value := range t.HTTP.Headers {
			if name, ok := strings.CutPrefix(value, envPrefix); ok {
				named[name] = true
			}
		}
	}
	return func(name string) bool { return named[name] || strings.HasPrefix(name, "NATS_") }
}

// plainVariables are those that a command has in any case: none of them is a secret, and
// without them hardly a program does what its user expects.
func plainVariable(name string) bool {
	switch name {
	case "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TZ", "TMPDIR":
		return true
	}
	return strings.HasPrefix(name, "LC_")
}

// inherited is what a command of the type has of the worker's environment: all but secrets
// or, if there is a list, what that names.
func (t typeConfig) inherited(all []string, secret func(name string) bool) []string {
	return slices.DeleteFunc(slices.Clone(all), func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		if t.Env == nil {
			return secret(name)
		}
		return !plainVariable(name) && !slices.Contains(t.Env, name)
	})
}

// environment is base with what a command may know of its job, but for these. Of two meta keys with one
// name, as a-b and a_b, the last in order counts.
func environment(base []string, j *millhand.Job[millhand.Raw], but ...string) []string {
	env := slices.DeleteFunc(slices.Clone(base), func(entry string) bool { // this worker may be a job itself
		switch name, _, _ := strings.Cut(entry, "="); name {
		case envID, envType, envQueue, envAttempt, envTick, envControl, envTraceParent, envTraceState:
			return true
		default:
			return strings.HasPrefix(name, envMeta)
		}
	})
	env = append(env, envID+"="+j.ID, envType+"="+j.Type, envQueue+"="+j.Queue, envAttempt+"="+strconv.Itoa(j.Attempt),
		envControl+"="+strconv.Itoa(minder.ControlDescriptor))
	if !j.Tick.IsZero() {
		env = append(env, envTick+"="+j.Tick.Format(time.RFC3339))
	}
	if parent := j.Trace[headerTraceParent]; parent != "" {
		env = append(env, envTraceParent+"="+parent)
		if state := j.Trace[headerTraceState]; state != "" {
			env = append(env, envTraceState+"="+state)
		}
	}
	meta := make(map[string]string, len(j.Meta))
	for _, key := range slices.Sorted(maps.Keys(j.Meta)) {
		meta[envMeta+strings.ToUpper(strings.ReplaceAll(key, "-", "_"))] = j.Meta[key]
	}
	for _, name := range slices.Sorted(maps.Keys(meta)) {
		env = append(env, name+"="+meta[name])
	}
	return slices.DeleteFunc(env, func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		return slices.Contains(but, name)
	})
}

// failure is the text of a command's failure: what it said, or else how it ended. A signal
// is named in any case, for that a command cannot say itself.
func failure(res minder.Result) string {
	said := strings.ToValidUTF8(string(bytes.TrimSpace(res.Stderr)), "\uFFFD")
	switch {
	case res.Signal != 0 && said != "":
		return fmt.Sprintf("signal: %v: %s", res.Signal, said)
	case res.Signal != 0:
		return fmt.Sprintf("signal: %v", res.Signal)
	case said != "":
		return said
	}
	return fmt.Sprintf("exit status %d", res.ExitCode)
}

// checkCommand returns an error if a command cannot be started as things are now.
func checkCommand(argv []string) error {
	if len(argv) == 0 || argv[0] == "" {
		return errors.New("the command is empty")
	}
	_, err := minder.Lookup(argv[0])
	return err
}

// splitCommand splits a command line into words as a shell does: at space, with quotes
// and backslashes. It expands nothing, and refuses what a shell would take for more than
// a word, so that nobody believes there to be one.
func splitCommand(line string) ([]string, error) {
	var (
		words []string
		word  strings.Builder
		open  bool // within a word, which may be empty
	)
	for i := 0; i < len(line); i++ {
		switch c := line[i]; c {
		case ' ', '\t', '\n':
			if open {
				words = append(words, word.String())
				word.Reset()
				open = false
			}
		case '\'', '"':
			text, n := quoted(line[i:])
			if n < 0 {
				return nil, fmt.Errorf("%c without its counterpart in %s", c, line)
			}
			word.WriteString(text)
			open = true
			i += n - 1
		case '\\':
			i++
			if i == len(line) {
				return nil, fmt.Errorf("nothing follows the last backslash of %s", line)
			}
			if line[i] != '\n' { // which would join two lines
				word.WriteByte(line[i])
				open = true
			}
		case '|', '&', ';', '<', '>', '(', ')', '$', '`':
			return nil, fmt.Errorf("%c is for a shell, and there is none: quote it, or run sh -c '…'", c)
		default:
			word.WriteByte(c)
			open = true
		}
	}
	if open {
		words = append(words, word.String())
	}
	if len(words) == 0 || words[0] == "" {
		return nil, errors.New("the command is empty")
	}
	return words, nil
}

// quoted returns the text within the quotes that s begins with, and how long both are
// together; -1 if they do not end.
func quoted(s string) (text string, n int) {
	if s[0] == '\'' {
		end := strings.IndexByte(s[1:], '\'')
		if end < 0 {
			return "", -1
		}
		return s[1 : 1+end], end + 2
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return b.String(), i + 1
		case s[i] == '\\' && i+1 < len(s) && strings.IndexByte("\\\"$`\n", s[i+1]) >= 0:
			i++
			if s[i] != '\n' {
				b.WriteByte(s[i])
			}
		default:
			b.WriteByte(s[i])
		}
	}
	return "", -1
}
