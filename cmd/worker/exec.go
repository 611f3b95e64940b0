package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/minder"
)

// Exit codes by which a command says what follows. 0 is success; any other one is an
// error, retried like exitRetry.
const (
	exitRetry     = 75  // EX_TEMPFAIL of sysexits.h
	exitPermanent = 100 // no further attempt
)

// Variables by which a command learns of its job.
const (
	envID      = "MILLHAND_ID"
	envType    = "MILLHAND_TYPE"
	envQueue   = "MILLHAND_QUEUE"
	envAttempt = "MILLHAND_ATTEMPT"
	envMeta    = "MILLHAND_META_" // prefix; the key in upper case, - as _
)

// execHandler runs a job as a command: the payload is its standard input, and what it
// writes to its standard output is the result, byte for byte. The end of its standard
// error is the text of a failure.
func execHandler(m *minder.Minder, argv []string) millhand.HandlerFunc {
	return func(ctx context.Context, j *millhand.Job[millhand.Raw]) ([]byte, error) {
		res, err := m.Run(ctx, minder.Command{
			Argv: argv, Env: environment(os.Environ(), j),
			Stdin: j.Args.Payload, Until: j.LeaseUntil,
		})
		switch {
		case err != nil && ctx.Err() != nil && errors.Is(err, context.Cause(ctx)):
			return nil, fmt.Errorf("command stopped: %s", failure(res))
		case err != nil && len(res.Stderr) > 0:
			return nil, fmt.Errorf("%w: %s", err, failure(res))
		case err != nil:
			return nil, err
		case res.ExitCode == 0:
			return res.Stdout, nil
		case res.ExitCode == exitPermanent:
			return nil, millhand.Permanent(errors.New(failure(res)))
		}
		return nil, errors.New(failure(res))
	}
}

// environment is base with what a command may know of its job. Of two meta keys with one
// name, as a-b and a_b, the last in order counts.
func environment(base []string, j *millhand.Job[millhand.Raw]) []string {
	env := slices.DeleteFunc(slices.Clone(base), func(entry string) bool { // this worker may be a job itself
		name, _, _ := strings.Cut(entry, "=")
		return name == envID || name == envType || name == envQueue || name == envAttempt || strings.HasPrefix(name, envMeta)
	})
	env = append(env, envID+"="+j.ID, envType+"="+j.Type, envQueue+"="+j.Queue, envAttempt+"="+strconv.Itoa(j.Attempt))
	meta := make(map[string]string, len(j.Meta))
	for _, key := range slices.Sorted(maps.Keys(j.Meta)) {
		meta[envMeta+strings.ToUpper(strings.ReplaceAll(key, "-", "_"))] = j.Meta[key]
	}
	for _, name := range slices.Sorted(maps.Keys(meta)) {
		env = append(env, name+"="+meta[name])
	}
	return env
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
				return nil, fmt.Errorf("nothing behind the last backslash of %s", line)
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
