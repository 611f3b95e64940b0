package access_test

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/millhand/millhand/internal/access"
)

var update = flag.Bool("update", false, "write the configuration into docs/security.md")

// The configuration that people copy is that of this package.
func TestDocumentedConfiguration(t *testing.T) {
	const file, begin, end = "../../docs/security.md", "```text roles\n", "```\n"
	doc, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(doc), begin)
	got, tail, closed := strings.Cut(rest, end)
	if !ok || !closed {
		t.Fatalf("%s has no block of roles", file)
	}
	want := access.Config("millhand")
	if got == want {
		return
	}
	if !*update {
		t.Fatalf("%s has not the roles of this package: go test ./internal/access -update\n%s", file, want)
	}
	if err := os.WriteFile(file, []byte(head+begin+want+end+tail), 0o600); err != nil {
		t.Fatal(err)
	}
}
