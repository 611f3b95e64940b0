package arch

import (
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

// What a line of the log is searched by has one name each, which docs/operations.md promises.
var promisedLogKeys = []string{
	"queue", "type", "id", "life", "attempt", "worker", "duration", "wait", "outcome", "reason", "err",
	"trace_id", "span_id", "pool", "code", "by",
}

// Facts of the broker, the process and the dashboard. Before a new one is added: is there a name for it?
var otherLogKeys = []string{
	"action", "address", "batcher", "bucket", "buffer", "bytes", "child", "concurrency", "configured", "consumer", "content",
	"count", "cron", "delay", "effect", "event", "events_per_second", "first", "from", "group", "had_a_time", "hand_back",
	"held", "host", "in_force", "in_hand", "is", "jobs", "join", "kept", "key", "lacks", "last", "last_now", "last_then",
	"lease", "limit", "line", "max_age", "max_age_before", "max_bytes", "max_msgs", "max_msgs_before",
	"max_msgs_needed", "max_payload", "memory_limit_mib", "messages", "messages_now", "messages_then",
	"missing_at_least", "moved_to", "needed", "next", "offset", "origin", "over", "part", "path", "payload_bytes",
	"per", "permission", "pid", "pids", "pipeline", "queues", "rate", "ref", "restarts", "role", "room", "runs_again", "set",
	"signal", "since", "stack", "stage", "status", "store", "strategy", "stream", "subject", "supervisor", "text",
	"tick", "types", "until", "url", "used", "value", "waits_for", "want", "was", "what",
}

func TestLogKeys(t *testing.T) {
	known := slices.Concat(promisedLogKeys, otherLogKeys)
	seen := make(map[string]bool)
	tree := os.DirFS(moduleRoot)
	err := fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && name != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata"):
			return fs.SkipDir
		case d.IsDir() || path.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go"):
			return nil
		}
		src, err := fs.ReadFile(tree, name)
		if err != nil {
			return err
		}
		keys, err := logKeys(name, src)
		for _, k := range keys {
			seen[k.name] = true
			if !slices.Contains(known, k.name) {
				t.Errorf("%s: log key %q is not in the list of test/arch", k.at, k.name)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range otherLogKeys {
		if !seen[k] {
			t.Errorf("no line is logged with the key %q: remove it from the list", k)
		}
	}
}

func TestLogKeysOfASource(t *testing.T) {
	const src = "package p\nimport l \"log/slog\"\nvar _ = []any{l.String(\"id\", \"1\"), l.Int(key, 1), l.New(nil), slog.Int(\"no\", 1)}\n"
	got, err := logKeys("a.go", []byte(src))
	want := []logKey{{"id", "a.go:3:15"}, {"(not a literal)", "a.go:3:36"}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("logKeys = %v, %v, want %v", got, err, want)
	}
}

type logKey struct{ name, at string }

// logKeys returns the keys of the attributes that a source makes. One that is not a literal is
// returned as an expression, and so is in no list.
func logKeys(name string, src []byte) (keys []logKey, err error) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, name, src, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	pkg := importNames(file)["log/slog"]
	ast.Inspect(file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok || pkg == "" || len(call.Args) < 2 {
			return true
		}
		f, ok := call.Fun.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if x, ok := f.X.(*ast.Ident); !ok || x.Name != pkg || !slices.Contains(attrMakers, f.Sel.Name) {
			return true
		}
		key := "(not a literal)"
		if lit, ok := call.Args[0].(*ast.BasicLit); ok {
			key, _ = strconv.Unquote(lit.Value)
		}
		keys = append(keys, logKey{key, fset.Position(call.Pos()).String()})
		return true
	})
	return keys, nil
}

var attrMakers = []string{"Any", "Bool", "Duration", "Float64", "Group", "Int", "Int64", "String", "Time", "Uint64"}
