package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/millhand/millhand/flow"
)

func TestRun(t *testing.T) {
	var files []string
	for _, text := range []string{"the cat\nThe dog", "", "a cat and THE mouse\n"} {
		name := filepath.Join(t.TempDir(), "text")
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		files = append(files, name)
	}
	var out strings.Builder
	if err := run(t.Context(), &out, files); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); !strings.HasPrefix(got, "3 the\n2 cat\n") || strings.Count(got, "\n") != 6 {
		t.Errorf("got %s", got)
	}
}

// What cannot be read is named, and nothing is printed that is only half of the truth.
func TestRunOfAMissingFile(t *testing.T) {
	var out strings.Builder
	missing := filepath.Join(t.TempDir(), "missing")
	err := run(t.Context(), &out, []string{missing})
	item, ok := errors.AsType[*flow.ItemError](err)
	if !ok || item.Item != missing || !errors.Is(err, os.ErrNotExist) || out.Len() > 0 {
		t.Errorf("got %v and %q", err, &out)
	}
}
