package supervisor

import (
	"bytes"
	"context"
	"fmt"
	"runtime/pprof"
	"strings"
)

// label marks the current goroutine, and those it starts, as working for a child. Profiles show it,
// and it is how the stack of a child that hangs is found: Go gives a goroutine no handle.
func label(ctx context.Context, supervisor, child string) context.Context {
	ctx = pprof.WithLabels(ctx, pprof.Labels("supervisor", supervisor, "child", child))
	pprof.SetGoroutineLabels(ctx)
	return ctx
}

// stacks returns the stacks of all goroutines that work for a child. It stops the world for a
// moment, so it is for the rare case of a child that does not stop.
func stacks(supervisor, child string) string {
	var profile bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&profile, 1); err != nil {
		return fmt.Sprintf("no stack: %v", err)
	}
	supervisorLabel, childLabel := fmt.Sprintf("%q:%q", "supervisor", supervisor), fmt.Sprintf("%q:%q", "child", child)
	var found []string
	for goroutine := range strings.SplitSeq(profile.String(), "\n\n") {
		labels, ok := labelsOf(goroutine)
		if ok && strings.Contains(labels, supervisorLabel) && strings.Contains(labels, childLabel) {
			found = append(found, strings.TrimSpace(goroutine))
		}
	}
	return strings.Join(found, "\n\n")
}

// labelsOf returns the second line of a goroutine's record, if it holds its labels.
func labelsOf(goroutine string) (string, bool) {
	_, rest, _ := strings.Cut(goroutine, "\n")
	line, _, _ := strings.Cut(rest, "\n")
	return strings.CutPrefix(line, "# labels: ")
}
