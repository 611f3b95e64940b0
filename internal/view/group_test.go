package view_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
	"github.com/millhand/millhand/internal/view"
)

// Each line of the file is an error and, behind =>, its text in a group.
func TestGroupOf(t *testing.T) {
	golden, err := os.ReadFile("testdata/groups.txt")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(golden)) {
		text, want, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " => ")
		if !ok {
			continue
		}
		got := view.GroupOf(text, "exhausted")
		if got.Text != want || len(got.Code) != 8 {
			t.Errorf("%s\n got %s\nwant %s", text, got.Text, want)
		}
	}
	if a, b := view.GroupOf("", "crashed"), view.GroupOf("", ""); a.Text != "(crashed)" || b.Code != "" {
		t.Errorf("without a text: %+v, %+v", a, b)
	}
	if a, b := view.GroupOf("row 12: bad", ""), view.GroupOf("row 7:  bad\n", "exhausted"); a != b {
		t.Errorf("%+v and %+v", a, b)
	}
}

// Whatever an error is, its group is that of one with other numbers, and of bounded length.
func TestGroupsAreStable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.String().Draw(t, "text")
		g := view.GroupOf(text, "x")
		if len([]rune(g.Text)) > 200 || g != view.GroupOf(text, "x") {
			t.Fatalf("%q", g.Text)
		}
		n, m := rapid.IntRange(1000, 1e6).Draw(t, "n"), rapid.IntRange(1000, 1e6).Draw(t, "m")
		a, b := view.GroupOf(fmt.Sprintf("row %d of %dkB", n, m), "x"), view.GroupOf(fmt.Sprintf("row %d of %dkB", m, n), "x")
		if a != b {
			t.Fatalf("%+v, %+v", a, b)
		}
	})
}

// Dead jobs are grouped, and a group is a term of a filter.
func TestDeadGroups(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		m := newMill(t, s)
		n := 0
		fail := func(format string) func(context.Context) error {
			return func(context.Context) error {
				n++
				return millhand.Permanent(fmt.Errorf(format, n))
			}
		}
		m.hireEach(t, millhand.WorkerConfig{Concurrency: 1}, map[string]func(context.Context) error{
			"email": fail("450 4.7.1 mx%d: greylisted"), "import": fail("row %d: not a number"), "sms": fail("row %d: not a number"),
		})
		m.enqueue(t, 5, "email")
		m.enqueue(t, 2, "import")
		m.enqueue(t, 1, "sms")
		time.Sleep(time.Minute)
		g, err := m.view.DeadGroups(t.Context(), view.Query{Filter: parse(t, "state:dead")}, false)
		if err != nil || g.Count != 8 || g.Partial || len(g.Groups) != 2 {
			t.Fatalf("%+v, %v", g, err)
		}
		mail, rows := g.Groups[0], g.Groups[1]
		if mail.Count != 5 || mail.Error != "450 4.7.1 mx<n>: greylisted" || rows.Count != 3 || strings.Join(rows.Types, " ") != "import sms" || rows.Reasons[0] != "permanent" || rows.Until.Before(rows.Since) {
			t.Errorf("%+v", g.Groups)
		}
		if ids, _ := m.list(t, "state:dead group:"+rows.Group, 2, view.Usual); len(ids) != 3 {
			t.Errorf("of the group %s: %v", rows.Group, ids)
		}
		if ids, _ := m.list(t, "state:dead -group:"+rows.Group[:4]+"*", 10, view.Usual); len(ids) != 5 {
			t.Errorf("of others: %v", ids)
		}
	})
}
