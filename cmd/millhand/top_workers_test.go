package main

import (
	"strings"
	"testing"

	"github.com/millhand/millhand/internal/supervisor"
)

func TestTreeOfAWorker(t *testing.T) {
	t.Parallel()
	node := func(name string, restarts int, err string, children ...supervisor.Node) supervisor.Node {
		return supervisor.Node{Name: name, State: supervisor.StateRunning, Restarts: restarts, LastError: err, Children: children}
	}
	sound := node("worker", 0, "", node("registry", 0, "", node("agent", 0, "")))
	restarted := node("worker", 0, "", node("queue default", 1, "pull: timeout\nagain"), node("registry", 0, ""))
	for name, c := range map[string]struct {
		tree *supervisor.Node
		want string
	}{
		"none":      {nil, "it did not say"},
		"sound":     {&sound, "3 parts, all run, and none was restarted"},
		"restarted": {&restarted, "3 parts, 1 of them not running, or restarted before\n         worker › queue default running, 1 restart, the last after: pull: timeout again"},
	} {
		var lines []string
		for _, l := range treeLines(c.tree) {
			lines = append(lines, l[0].Text)
		}
		if got := strings.Join(lines, "\n"); !strings.HasSuffix(got, c.want) {
			t.Errorf("%s:\n%s\nwant\n%s", name, got, c.want)
		}
	}
}
