package main

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/minder"
	"github.com/millhand/millhand/internal/natstest"
)

// TestMain has this binary be what it is started as: a minder, the command in a script,
// or the tests.
func TestMain(m *testing.M) {
	if minder.Main() {
		return
	}
	testscript.Main(natstest.Waiting{M: m}, map[string]func(){"worker": main, "hanging-worker": hangingMain})
}

const traceParent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

func newJob(payload string) *millhand.Job[millhand.Raw] {
	return &millhand.Job[millhand.Raw]{
		Ref:     millhand.Ref{ID: "id-1", Type: "email", Queue: "critical"},
		Attempt: 3, Meta: map[string]string{"tenant-id": "a b", "region": "eu"},
		Trace: map[string]string{"traceparent": traceParent, "tracestate": "vendor=1"},
		Args:  millhand.Raw{Name: "email", Payload: []byte(payload)},
	}
}

func newTestMinder(t *testing.T) *minder.Minder {
	t.Helper()
	m := minder.New(slog.New(slog.NewTextHandler(t.Output(), nil)))
	t.Cleanup(m.Close)
	return m
}

func execHandler(t *testing.T, m *minder.Minder, argv ...string) millhand.HandlerFunc {
	t.Helper()
	c := &commandType{minder: m, trouble: newTrouble(slog.New(slog.NewTextHandler(t.Output(), nil))), argv: argv, env: os.Environ()}
	return c.handle
}

// typeOf tells the library's kinds of error apart, whose types are its own.
func typeOf(err error) string { return fmt.Sprintf("%T", err) }

func permanent(err error) bool { return typeOf(err) == typeOf(millhand.Permanent(errors.New("any"))) }

// sameKind reports whether two errors say the same and have the same consequence.
func sameKind(a, b error) bool {
	return fmt.Sprint(a) == fmt.Sprint(b) && permanent(a) == permanent(b) && delayOf(a) == delayOf(b)
}

// delayOf is when an error has the job run again, and whether that is an attempt; empty if it does not say.
func delayOf(err error) string {
	if typeOf(err) != typeOf(millhand.Snooze(0)) {
		return ""
	}
	v := reflect.Indirect(reflect.ValueOf(err))
	return fmt.Sprintf("%v, attempt %v", v.FieldByName("Delay"), v.FieldByName("Attempt"))
}

func TestExecContract(t *testing.T) {
	t.Parallel()
	m := newTestMinder(t)
	for _, tt := range []struct {
		name, script string
		result       string
		err          error
	}{
		{name: "payload in, result out", script: "cat", result: `{"to":"a@example.com"}`},
		{name: "result byte for byte", script: `printf 'a\n\377\n'`, result: "a\n\xff\n"},
		{
			name:   "environment",
			script: `echo "$MILLHAND_ID $MILLHAND_TYPE $MILLHAND_QUEUE $MILLHAND_ATTEMPT $MILLHAND_META_TENANT_ID $MILLHAND_META_REGION"`,
			result: "id-1 email critical 3 a b eu\n",
		},
		{
			name:   "trace",
			script: `echo "$TRACEPARENT $TRACESTATE"`,
			result: traceParent + " vendor=1\n",
		},
		{name: "retry", script: "echo later >&2; exit 75", err: errors.New("later")},
		{name: "retry at its own time", script: `echo "retry-after 90s" >&$MILLHAND_CONTROL; echo busy >&2; exit 75`, err: millhand.RetryAfter(90*time.Second, errors.New("busy"))},
		{name: "snooze", script: `printf 'retry-after 1s\nsnooze 1h' >&3; exit 75`, err: millhand.Snooze(time.Hour)},
		{name: "success with a control", script: `echo "snooze 1h" >&3; echo done`, result: "done\n"},
		{name: "control that is not used", script: "exec 3>&-; echo done", result: "done\n"},
		{name: "permanent", script: "echo never >&2; exit 100", err: millhand.Permanent(errors.New("never"))},
		{name: "error", script: "echo one >&2; echo two >&2; exit 1", err: errors.New("one\ntwo")},
		{name: "error without words", script: "exit 3", err: errors.New("exit status 3")},
		{name: "error in no encoding", script: `printf '\377x' >&2; exit 1`, err: errors.New("\uFFFDx")},
		{name: "signal", script: "kill -KILL $$", err: errors.New("signal: killed")},
		{name: "signal with words", script: "echo out of memory >&2; kill -KILL $$", err: errors.New("signal: killed: out of memory")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := execHandler(t, m, "sh", "-c", tt.script)(t.Context(), newJob(`{"to":"a@example.com"}`))
			if string(got) != tt.result || !sameKind(err, tt.err) {
				t.Errorf("%s = %q, %#v, want %q, %#v", tt.script, got, err, tt.result, tt.err)
			}
		})
	}
}

// Who wrote too much did the work, so that doing it again would be wrong twice.
func TestExecWithTooLargeResult(t *testing.T) {
	t.Parallel()
	h := execHandler(t, newTestMinder(t), "sh", "-c", "echo much >&2; head -c 2000000 /dev/zero; sleep 600")
	_, err := h(t.Context(), newJob("{}"))
	if !errors.Is(err, minder.ErrOutputTooLarge) || !permanent(err) || !strings.HasSuffix(err.Error(), ": much") {
		t.Errorf("err = %#v, want a permanent ErrOutputTooLarge with stderr's text", err)
	}
}

func handedBack(err error) bool { return typeOf(err) == typeOf(millhand.HandBack(errors.New("any"))) }

// What the worker does to a command is no attempt of the job.
func TestVerdict(t *testing.T) {
	t.Parallel()
	soon := func(err error) error { return millhand.RetryAfter(time.Second, err) }
	words := minder.Result{Stderr: []byte("words\n"), ExitCode: -1, Signal: syscall.SIGKILL}
	for _, tt := range []struct {
		name  string
		res   minder.Result
		err   error
		cause error
		later func(error) error
		want  error
	}{
		{name: "success"},
		{name: "success that wants to be run later", later: soon},
		{name: "retry when the backoff says", res: minder.Result{ExitCode: 75}, want: errors.New("exit status 75")},
		{name: "retry when it says", res: minder.Result{ExitCode: 75}, later: soon, want: soon(errors.New("exit status 75"))},
		{name: "another failure", res: minder.Result{ExitCode: 1}, later: soon, want: errors.New("exit status 1")},
		{name: "timeout of one that wants to be run later", res: words, err: millhand.ErrTimeout, cause: millhand.ErrTimeout, later: soon, want: errors.New("command stopped: signal: killed: words")},
		{name: "cancelled", res: words, err: millhand.ErrCancelled, cause: millhand.ErrCancelled, want: errors.New("command stopped: signal: killed: words")},
		{name: "cancelled, and had done its work", err: millhand.ErrCancelled, cause: millhand.ErrCancelled},
		{name: "stopped, and had done its work", err: millhand.ErrHandedBack, cause: millhand.ErrHandedBack, want: errors.New("command stopped: exit status 0")},
		{name: "lease ended", res: words, err: minder.ErrLeaseEnded, want: millhand.HandBack(minder.ErrLeaseEnded)},
		{name: "lease ended as it stops", err: minder.ErrLeaseEnded, cause: millhand.ErrLeaseLost, want: millhand.HandBack(minder.ErrLeaseEnded)},
		{name: "closed", err: minder.ErrClosed, want: millhand.HandBack(minder.ErrClosed)},
		{name: "timeout", res: words, err: millhand.ErrTimeout, cause: millhand.ErrTimeout, want: errors.New("command stopped: signal: killed: words")},
		{name: "no such program", err: minder.ErrNotStarted, want: minder.ErrNotStarted},
		{name: "its minder died too often", res: words, err: minder.ErrMinderDied, want: fmt.Errorf("%w: signal: killed: words", minder.ErrMinderDied)},
		{name: "failure", res: minder.Result{ExitCode: 1}, want: errors.New("exit status 1")},
		{name: "failure as it stops", res: minder.Result{ExitCode: 1}, cause: millhand.ErrTimeout, want: errors.New("exit status 1")},
	} {
		if _, err := verdict(tt.res, tt.err, tt.cause, tt.later); !sameKind(err, tt.want) || handedBack(err) != handedBack(tt.want) {
			t.Errorf("%s: %#v, want %#v", tt.name, err, tt.want)
		}
	}
}

// A job is handed back when its minder dies, but not for ever: its command may be what kills it.
func TestMinderThatDies(t *testing.T) {
	t.Parallel()
	h := execHandler(t, newTestMinder(t), "sh", "-c", "kill -KILL $PPID; sleep 600")
	for range minderDeaths {
		if _, err := h(t.Context(), newJob("{}")); !handedBack(err) || !errors.Is(err, minder.ErrMinderDied) {
			t.Fatalf("err = %#v, want it handed back", err)
		}
	}
	_, err := h(t.Context(), newJob("{}"))
	if err == nil || handedBack(err) || permanent(err) || !errors.Is(err, minder.ErrMinderDied) {
		t.Errorf("err = %#v, want a failed attempt", err)
	}
}

func TestMissingCommand(t *testing.T) {
	t.Parallel()
	for _, argv := range [][]string{nil, {""}, {"no-such-command-anywhere"}, {"/etc"}} {
		if err := checkCommand(argv); err == nil {
			t.Errorf("checkCommand(%q) = nil", argv)
		}
	}
	if err := checkCommand([]string{"sh"}); err != nil {
		t.Errorf("checkCommand(sh) = %v", err)
	}
	h := execHandler(t, newTestMinder(t), "no-such-command-anywhere")
	_, err := h(t.Context(), newJob("{}"))
	if !errors.Is(err, minder.ErrNotStarted) || permanent(err) {
		t.Errorf("err = %#v, want ErrNotStarted, not permanent", err)
	}
}

func TestEnvironmentOfAWorkerThatIsAJob(t *testing.T) {
	t.Parallel()
	base := []string{"PATH=/bin", "MILLHAND_ID=outer", "MILLHAND_META_SECRET=x", "MILLHAND_CONTROL=7", "MILLHAND_TICK=outer", "MILLHAND_URL=kept", "TRACEPARENT=outer", "TRACESTATE=outer=1"}
	j := newJob("")
	j.Trace = nil // the worker's own is not its
	j.Meta = map[string]string{"a-b": "1", "a_b": "2"}
	j.Tick = time.Date(2026, 3, 29, 3, 0, 0, 0, time.FixedZone("", 7200))
	want := []string{
		"PATH=/bin", "MILLHAND_URL=kept", "MILLHAND_ID=id-1", "MILLHAND_TYPE=email", "MILLHAND_QUEUE=critical",
		"MILLHAND_ATTEMPT=3", "MILLHAND_CONTROL=3", "MILLHAND_TICK=2026-03-29T03:00:00+02:00", "MILLHAND_META_A_B=2",
	}
	if diff := cmp.Diff(want, environment(base, j)); diff != "" {
		t.Error(diff)
	}
	if base[1] != "MILLHAND_ID=outer" {
		t.Error("environment changed its argument")
	}
}

func TestSecretsStayWithTheWorker(t *testing.T) {
	t.Parallel()
	all := []string{
		"PATH=/bin", "LC_ALL=C", "NATS_URL=nats://u:p@h", "NATS_PASSWORD=p", "NATS_CREDS=f", "NATSX=kept",
		"IMPORT_TOKEN=t", "EXPORT_TOKEN=t", "DB=x", "EMPTY=", "=odd",
	}
	c := config{Types: map[string]typeConfig{
		"import": {HTTP: &httpConfig{Headers: map[string]string{"A": "env:IMPORT_TOKEN", "B": "plain", "C": "env:EXPORT_TOKEN"}}},
		"email":  {Exec: []string{"true"}},
	}}
	for _, tt := range []struct {
		name string
		env  []string
		want []string
	}{
		{"without a list", nil, []string{"PATH=/bin", "LC_ALL=C", "NATSX=kept", "DB=x", "EMPTY=", "=odd"}},
		{"with a list", []string{"DB", "NATS_URL", "UNSET"}, []string{"PATH=/bin", "LC_ALL=C", "NATS_URL=nats://u:p@h", "DB=x"}},
		{"with an empty list", []string{}, []string{"PATH=/bin", "LC_ALL=C"}},
	} {
		if diff := cmp.Diff(tt.want, typeConfig{Env: tt.env}.inherited(all, c.secretVariables())); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
	}
}

func TestSplitCommand(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		line string
		want []string // nil: an error
	}{
		{"true", []string{"true"}},
		{"  ./send-email\t--from  me@example.com ", []string{"./send-email", "--from", "me@example.com"}},
		{`a 'b  c' "d e"`, []string{"a", "b  c", "d e"}},
		{`a ''  ""`, []string{"a", "", ""}},
		{`a b'c'"d"\e`, []string{"a", "bcde"}},
		{`a \' "\"" '\'`, []string{"a", "'", `"`, `\`}},
		{`a "\n \\ \$x"`, []string{"a", `\n \ $x`}},
		{"a \\\n b\\\nc \"d\\\ne\"", []string{"a", "bc", "de"}},
		{`sh -c "sha256sum | cut -c1-64; echo $MILLHAND_ID"`, []string{"sh", "-c", "sha256sum | cut -c1-64; echo $MILLHAND_ID"}},
		{`curl 'http://x/?a=1&b=2' x=y # ~ * é`, []string{"curl", "http://x/?a=1&b=2", "x=y", "#", "~", "*", "é"}},
		{"", nil},
		{" \t", nil},
		{"''", nil},
		{"a 'b", nil},
		{`a "b\"`, nil},
		{`a\`, nil},
		{"a | b", nil},
		{"a > b", nil},
		{"a && b", nil},
		{"a $HOME", nil},
		{"a `b`", nil},
		{"(a)", nil},
	} {
		got, err := splitCommand(tt.line)
		if !slices.Equal(got, tt.want) || (err != nil) != (tt.want == nil) {
			t.Errorf("splitCommand(%q) = %q, %v, want %q", tt.line, got, err, tt.want)
		}
	}
}

// What no shell would expand, a shell splits in the same way.
func TestSplitCommandLikeAShell(t *testing.T) {
	t.Parallel()
	for _, line := range []string{`a 'b  c' "d e"`, `a ''  "" b'c'"d"\e`, `a \' "\"" '\' "\x\\"`, "a \\\n b\\\nc \"d\\\ne\"", "a\tb\\ c"} {
		out, err := exec.CommandContext(t.Context(), "sh", "-c", `printf '%s\0' `+line).Output()
		if err != nil {
			t.Fatal(err)
		}
		want := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
		if got, err := splitCommand(line); err != nil || !slices.Equal(got, want) {
			t.Errorf("splitCommand(%q) = %q, %v, want %q", line, got, err, want)
		}
	}
}

// Any words survive being quoted in either way, and no line does harm.
func FuzzSplitCommand(f *testing.F) {
	f.Add("a\x00b c\x00'\x00\"\\")
	f.Add("x\x00\x00$(y)\x00\n")
	f.Fuzz(func(t *testing.T, text string) {
		if got, err := splitCommand(text); err == nil && (len(got) == 0 || got[0] == "") {
			t.Errorf("splitCommand(%q) = %q, without a command", text, got)
		}
		words := append([]string{"command"}, strings.Split(text, "\x00")...)
		single, double := make([]string, len(words)), make([]string, len(words))
		for i, w := range words {
			single[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
			double[i] = `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(w) + `"`
		}
		for _, line := range []string{strings.Join(single, " "), strings.Join(double, "\t\n")} {
			if got, err := splitCommand(line); err != nil || !slices.Equal(got, words) {
				t.Errorf("splitCommand(%q) = %q, %v, want %q", line, got, err, words)
			}
		}
	})
}

// Two hundred jobs at once over one minder.
func TestExecManyAtOnce(t *testing.T) {
	t.Parallel()
	h := execHandler(t, newTestMinder(t), "cat")
	payload := bytes.Repeat([]byte("x"), 10_000)
	var wg sync.WaitGroup
	defer wg.Wait()
	for range 200 {
		wg.Go(func() {
			if got, err := h(t.Context(), newJob(string(payload))); err != nil || !bytes.Equal(got, payload) {
				t.Errorf("cat: %d bytes, %v", len(got), err)
			}
		})
	}
}
