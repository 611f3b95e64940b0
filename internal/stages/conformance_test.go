package stages_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// conformance is one case of testdata: what the original did in a given situation.
type conformance struct {
	ID      string
	Verdict string
	Setup   map[string]json.RawMessage
	Steps   []string
	Expect  expectations
}

// expectations are the parts of what a case expects; a list has one part, "all".
type expectations map[string]json.RawMessage

func (e *expectations) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '[' {
		*e = expectations{"all": slices.Clone(data)}
		return nil
	}
	var parts map[string]json.RawMessage
	if err := json.Unmarshal(data, &parts); err != nil {
		return err
	}
	*e = parts
	return nil
}

func cases(t *testing.T, file string) []conformance {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	var area struct{ Cases []conformance }
	if err := json.Unmarshal(data, &area); err != nil {
		t.Fatal(err)
	}
	return area.Cases
}

// enact runs the script of each case of a file, in a bubble of its own. A script's name is an id,
// or the beginning of the ids it can enact. Each must have one, or a form.
func enact(t *testing.T, file string, scripts map[string]func(*scene), forms ...form) {
	t.Helper()
	for _, c := range cases(t, file) {
		t.Run(c.ID, func(t *testing.T) {
			script := scripts[c.ID]
			for prefix, s := range scripts {
				if strings.HasSuffix(prefix, "*") && strings.HasPrefix(c.ID, strings.TrimSuffix(prefix, "*")) {
					script = s
				}
			}
			if script == nil {
				script = byForm(forms, c)
			}
			if script == nil {
				t.Fatalf("the %s case has no script", c.Verdict)
			}
			play(t, c, script)
		})
	}
}

// A form is how cases that have these parts in their setup and among what they expect are enacted, whatever
// their ids are.
type form struct {
	setup, expects []string
	script         func(*scene)
}

func byForm(forms []form, c conformance) func(*scene) {
	for _, f := range forms {
		missing := slices.ContainsFunc(f.setup, func(part string) bool { return c.Setup[part] == nil }) ||
			slices.ContainsFunc(f.expects, func(part string) bool { return c.Expect[part] == nil })
		if !missing {
			return f.script
		}
	}
	return nil
}
