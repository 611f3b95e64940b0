package arch

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	maxLines   = 500 // a longer file has more than one subject
	moduleRoot = "../.."
)

// Which packages and files may start a goroutine that outlives the function: the supervisor,
// whose business it is, the server of the tests, and what nothing can interrupt, so that nobody can
// wait for it: the reader of a terminal or a pipe, and a server that may never stop. Elsewhere an errgroup.Group or a
// sync.WaitGroup stands beside its Wait.
var mayGo = []string{"internal/supervisor", "internal/natstest", "internal/cli/interruptible.go", "internal/broker/broker.go"}

// In a bubble time is virtual and a sleep exact; anywhere else it is a guess. A test comes
// by a bubble with one of these packages or calls.
var (
	bubbles     = []string{"testing/synctest", module + "/internal/natstest"}
	bubbleCalls = []string{"rapid.SyncTest(", "inScene(", "inCronScene(", "inCanceller(", "inGroup("} // the latter are the tests' own
)

func TestSource(t *testing.T) {
	tree := os.DirFS(moduleRoot)
	files := 0
	err := fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && name != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata"):
			return fs.SkipDir
		case d.IsDir() || path.Ext(name) != ".go":
			return nil
		}
		files++
		src, err := fs.ReadFile(tree, name)
		if err != nil {
			return err
		}
		violations, err := check(name, src)
		for _, v := range violations {
			t.Error(v)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if files == 0 {
		t.Fatalf("no Go files below %s", moduleRoot)
	}
}

func TestCheck(t *testing.T) {
	const (
		goes   = "package p\nfunc f() { go f() }\n"
		sleeps = "package p\nimport \"time\"\nfunc f() { time.Sleep(1) }\n"
		bubble = "package p\nimport (\n\t\"testing/synctest\"\n\t\"time\"\n)\nvar _ = synctest.Wait\nfunc f() { time.Sleep(1) }\n"
		rapid  = "package p\nimport \"time\"\nfunc f() { rapid.SyncTest(t, g); time.Sleep(1) }\n"
		alias  = "package p\nimport clock \"time\"\nfunc f() { clock.Sleep(1) }\n"
	)
	tests := []struct {
		file, src string
		want      []string
	}{
		{"worker.go", goes, []string{"worker.go:2:12: go statement outside internal/supervisor, internal/natstest, internal/cli/interruptible.go, internal/broker/broker.go"}},
		{"internal/supervisor/run.go", goes, nil},
		{"worker_test.go", goes, nil},
		{"worker.go", sleeps, []string{"worker.go:3:12: time.Sleep outside a test in a bubble"}},
		{"worker_test.go", sleeps, []string{"worker_test.go:3:12: time.Sleep outside a test in a bubble"}},
		{"worker_test.go", alias, []string{"worker_test.go:3:12: time.Sleep outside a test in a bubble"}},
		{"worker_test.go", bubble, nil},
		{"worker_test.go", rapid, nil},
		{"worker.go", "package p\n" + strings.Repeat("\n", maxLines), []string{"worker.go: 501 lines, at most 500"}},
	}
	for _, tt := range tests {
		got, err := check(tt.file, []byte(tt.src))
		if err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("check(%s, %q) = %q, %v, want %q", tt.file, tt.src, got, err, tt.want)
		}
	}
}

// check returns how the file breaks the rules of the source. Its name is relative to the
// module's root.
func check(name string, src []byte) ([]string, error) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, name, src, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	var violations []string
	if lines := bytes.Count(src, []byte("\n")); lines > maxLines {
		violations = append(violations, name+": "+strconv.Itoa(lines)+" lines, at most "+strconv.Itoa(maxLines))
	}
	isTest := strings.HasSuffix(name, "_test.go")
	imports := importNames(file)
	inBubble := isTest && (slices.ContainsFunc(bubbleCalls, func(c string) bool { return bytes.Contains(src, []byte(c)) }) ||
		slices.ContainsFunc(bubbles, func(p string) bool { return imports[p] != "" }))

	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			if !isTest && !slices.Contains(mayGo, path.Dir(name)) && !slices.Contains(mayGo, name) {
				violations = append(violations, fset.Position(n.Pos()).String()+": go statement outside "+strings.Join(mayGo, ", "))
			}
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && n.Sel.Name == "Sleep" && x.Name == imports["time"] && !inBubble {
				violations = append(violations, fset.Position(n.Pos()).String()+": time.Sleep outside a test in a bubble")
			}
		}
		return true
	})
	return violations, nil
}

// importNames maps the paths of the file's imports to the names they have in it.
func importNames(file *ast.File) map[string]string {
	names := make(map[string]string, len(file.Imports))
	for _, imp := range file.Imports {
		p := strings.Trim(imp.Path.Value, `"`)
		names[p] = path.Base(p)
		if imp.Name != nil {
			names[p] = imp.Name.Name
		}
	}
	return names
}
