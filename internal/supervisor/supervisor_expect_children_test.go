package supervisor

import (
	"encoding/json"
	"errors"
	"regexp"
	"slices"
	"strings"
)

// compareChildren compares what is known of children: by name how each is, or as OTP lists them, the last
// one first.
func (p *play) compareChildren(_ []string, want json.RawMessage) {
	p.t.Helper()
	tree := p.tree().Children
	var byName map[string]json.RawMessage
	if json.Unmarshal(want, &byName) == nil {
		for name, state := range byName {
			p.compareChild(name, state)
		}
		for _, n := range tree {
			if byName[n.Name] == nil {
				p.t.Errorf("there is a child %s", n.Name)
			}
		}
		return
	}
	var names []string
	if json.Unmarshal(want, &names) == nil {
		got := []string{}
		for _, n := range slices.Backward(tree) {
			got = append(got, n.Name)
		}
		if p.dynamic != nil {
			slices.Sort(names)
			slices.Sort(got)
		}
		p.equal("children", names, got)
		return
	}
	got := [][2]string{}
	for _, n := range slices.Backward(tree) {
		state := p.child(n.Name)
		if state == "running" {
			state = "pid"
		}
		got = append(got, [2]string{n.Name, state})
	}
	p.equal("children", decode[[][2]string](p.t, want), got)
}

// isChild reports whether the setup has a child of that name.
func (p *play) isChild(name string) bool {
	return slices.ContainsFunc(p.setup.Children, func(c childSetup) bool { return c.ID == name })
}

var killedAfter = regexp.MustCompile(`^killed after (\d+) ms, its clean-up does not complete$`)

// compareChild compares what became of one child.
func (p *play) compareChild(name string, want json.RawMessage) {
	p.t.Helper()
	state := decode[string](p.t, want)
	if m := killedAfter.FindStringSubmatch(state); m != nil {
		p.equal(name+" has cleaned up", false, slices.Contains(p.cleanedSoFar(), name))
		return
	}
	got := p.child(name)
	if state == "pid" || state == "alive" {
		state = "running"
	}
	if got == "running" && (state == "same" || state == "restarted") {
		was, is := childNamed(p.before, name), childNamed(p.tree(), name)
		got = "restarted"
		if was != nil && was.Restarts == is.Restarts {
			got = "same"
		}
	}
	p.equal(name, state, got)
}

func (p *play) compareCounts(want json.RawMessage) {
	p.t.Helper()
	counted := p.counted
	if len(counted) == 0 {
		counted = append(counted, p.counts())
	}
	var list []map[string]int
	if json.Unmarshal(want, &list) != nil {
		list, counted = []map[string]int{decode[map[string]int](p.t, want)}, counted[len(counted)-1:]
	}
	p.equal("number of counts", len(list), len(counted))
	for i, counts := range list {
		for name, n := range counts {
			if _, ok := counted[i][name]; !ok {
				p.t.Fatalf("unknown count %q", name)
			}
			p.equal(name, n, counted[i][name])
		}
	}
}

// compareRefusal compares why the start failed: {failed_child, reason}, whose child may be abbreviated, or
// OTP's words.
func (p *play) compareRefusal(want json.RawMessage) {
	p.t.Helper()
	var failed struct {
		Child  string `json:"failed_child"`
		Reason string
	}
	if strictly(want, &failed) != nil {
		text := words(p.t, want)
		if _, after, ok := strings.Cut(text, "failed_to_start_child "); ok {
			failed.Child, failed.Reason, _ = strings.Cut(after, " ")
		} else {
			if !errors.Is(p.refused, ErrSpec) || !strings.Contains(p.refused.Error(), strings.ReplaceAll(text, "_", " ")) {
				p.t.Errorf("New = %v, want %s", p.refused, text)
			}
			return
		}
	}
	if p.run == nil || !p.run.ended() {
		p.t.Fatalf("the start has not failed: %v", p.refused)
	}
	got, ok := errors.AsType[*StartError](p.run.err)
	if !ok || !strings.HasPrefix(got.Child, failed.Child) || got.Err.Error() != failed.Reason {
		p.t.Errorf("Run = %v, want %v", p.run.err, failed)
	}
}
