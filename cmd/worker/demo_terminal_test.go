//go:build unix

package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/creack/pty"
)

// On a terminal the demo has a table that changes while it runs, and whatever the width, no
// line is wider: it would wrap, and the table be drawn over the wrong lines.
func TestDemoOnATerminal(t *testing.T) {
	t.Parallel()
	for _, width := range []int{60, 80, 120} {
		t.Run(strconv.Itoa(width), func(t *testing.T) {
			t.Parallel()
			out := runOnTerminal(t, width, "TERM=xterm-256color", "worker", "demo")
			redrawn := strings.Count(out, fmt.Sprintf(lineUp, 8)) // the table's head, five types, their sum, the bar
			if redrawn < 2 {
				t.Errorf("the table was drawn again %d times", redrawn)
			}
			if !strings.Contains(out, green) || !strings.Contains(out, red) {
				t.Error("no colours")
			}
			for line := range strings.SplitSeq(withoutStyles(out), "\n") {
				if got := utf8.RuneCountInString(strings.TrimSuffix(line, "\r")); got > width {
					t.Errorf("%d columns, of %d: %q", got, width, line)
				}
			}
			for _, want := range []string{`TYPE +(ENQUEUED|JOBS)`, `all +5440 +5400 +240 +40 `, `5440 of 5440 jobs ended`, `jobs/s`, `comes\s+alone`, `Try next:`} {
				if !regexp.MustCompile(want).MatchString(withoutStyles(out)) {
					t.Errorf("no %q in\n%s", want, out)
				}
			}
		})
	}
}

func TestDemoWithoutColors(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		env  string
		live bool
	}{
		{"NO_COLOR=1", true},
		{"TERM=dumb", false},
	} {
		t.Run(tt.env, func(t *testing.T) {
			t.Parallel()
			out := runOnTerminal(t, 80, tt.env, "worker", "demo")
			if strings.Contains(out, "\x1b[3") || strings.Contains(out, bold) {
				t.Errorf("colours in\n%q", out)
			}
			if got := strings.Contains(out, "\x1b["); got != tt.live {
				t.Errorf("drawn over: %t, want %t", got, tt.live)
			}
		})
	}
}

var styles = regexp.MustCompile("\x1b\\[[0-9]*[AKm]")

func withoutStyles(s string) string { return styles.ReplaceAllString(s, "") }

// runOnTerminal returns what a command writes to a terminal that is width columns wide.
func runOnTerminal(t *testing.T, width int, env, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Env = append(os.Environ(), "TERM=xterm", "NO_COLOR=", "TMPDIR="+t.TempDir(), env)
	terminal, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 50, Cols: uint16(width)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = terminal.Close() }() // nothing is written to it
	out, _ := io.ReadAll(terminal)          // Linux ends it with EIO when the command is gone
	if err := cmd.Wait(); err != nil {
		t.Errorf("%s: %v", name, err)
	}
	return string(out)
}
