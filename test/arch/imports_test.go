// Package arch tests the architecture: which package may import which, and the rules of
// the source that no linter checks.
package arch

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/millhand/millhand"

// allowed lists, for every package of the module, the module's packages it may import
// outside its tests. A key may be a pattern of [path.Match]. A package missing here fails
// the test, so a new one is placed by decision; one that is only planned does no harm.
var allowed = map[string][]string{
	// The public API, which translates and has no machinery of its own.
	".": {"internal/arrival", "internal/autoscale", "internal/cron", "internal/explain", "internal/job", "internal/metrics", "internal/notify", "internal/problem", "internal/queue", "internal/registry", "internal/slots", "internal/stats", "internal/stream", "internal/supervisor", "internal/tally", "internal/timespan", "internal/view", "internal/worker", "internal/workflow", "pipeline", "pipeline/stream"},

	// What Prometheus sees of it.
	"internal/metrics": {"internal/problem", "internal/registry", "internal/slots", "internal/tally", "internal/view", "internal/worker"},

	// The supervision tree of a worker.
	"internal/worker": {"internal/batch", "internal/cron", "internal/job", "internal/notify", "internal/problem", "internal/queue", "internal/registry", "internal/slots", "internal/stats", "internal/supervisor", "internal/stages", "internal/tally", "internal/view"},

	// What OpenTelemetry sees of it, over the public API alone; and who sends that from a command.
	"tracing":       {".", "pipeline"},
	"internal/otlp": nil,

	// The mechanisms. They know neither NATS nor jobs: what runs long is a
	// func(context.Context) error, so they meet without an import. But stages and supervisors
	// have to agree on what a clean end is.
	"internal/job":        nil,
	"internal/cron":       nil,
	"internal/batch":      nil, // when values make a batch
	"internal/workflow":   nil,
	"internal/timespan":   nil,
	"internal/filter":     {"internal/job", "internal/timespan"}, // what people say that they mean
	"internal/tally":      {"internal/job"},
	"internal/supervisor": nil,
	"internal/stages":     {"internal/supervisor"},
	"internal/hash":       nil, // which partition a key belongs to, to the broker and to us
	"internal/window":     nil, // which events belong together, and when they are complete

	// Computing over collections in one process. Who uses it does not link NATS.
	"flow": {"internal/hash", "internal/stages", "internal/window"},

	// Pipelines in memory: who uses one links no client either.
	"pipeline":                 {"internal/batch", "internal/hash", "internal/stages", "internal/window"},
	"pipeline/pipelinetest":    {"pipeline"},
	"pipeline/pipelinemetrics": {"pipeline"},                                                                          // what Prometheus sees of them
	"pipeline/stream":          {"internal/hash", "internal/job", "internal/registry", "internal/stream", "pipeline"}, // the one that does

	// Who may ask for jobs and who may start them. It decides, and knows no NATS.
	"internal/slots": {"internal/job"},

	// The technologies. A puller is a producer stage: what nobody asked for must be known
	// where it arrives, to be handed back.
	"internal/access":   nil,                                 // which user needs which subjects
	"internal/stream":   {"internal/access", "internal/job"}, // JetStream itself: what queue and registry ask of it alike
	"internal/queue":    {"internal/cron", "internal/job", "internal/slots", "internal/stages", "internal/stream"},
	"internal/arrival":  {"internal/job", "internal/queue", "internal/stream", "internal/workflow"}, // who ends a step counts it
	"internal/registry": {"internal/cron", "internal/job", "internal/slots", "internal/stream", "internal/supervisor"},
	// What an operator sees of them.
	"internal/stats":     {"internal/stream", "internal/tally"}, // what workers counted, kept and summed up
	"internal/view":      {"internal/arrival", "internal/filter", "internal/job", "internal/queue", "internal/registry", "internal/stream"},
	"internal/explain":   {"internal/job", "internal/registry", "internal/slots", "internal/view", "internal/workflow"}, // why a job is where it is
	"internal/autoscale": {"internal/slots", "internal/tally", "internal/view"},                                         // how many slots the jobs want
	"internal/verify":    {"internal/cron", "internal/job", "internal/queue", "internal/registry", "internal/slots", "internal/stream", "internal/view"},
	"internal/drill":     {".", "internal/job", "internal/queue", "internal/registry", "internal/stream", "internal/verify"},                                     // workers that are killed on purpose; they are users of the public package
	"internal/problem":   {"internal/registry", "internal/stats", "internal/stream", "internal/tally", "internal/view"},                                          // what of it is wrong
	"internal/notify":    {"internal/problem"},                                                                                                                   // who is told of it
	"internal/audit":     {"internal/stats", "internal/stream"},                                                                                                  // who did what
	"internal/answer":    {".", "internal/filter", "internal/job", "internal/problem", "internal/queue", "internal/registry", "internal/tally", "internal/view"}, // what programs are told of it
	"internal/backup":    {"internal/arrival", "internal/job", "internal/queue", "internal/registry", "internal/stream"},                                         // all streams of a namespace, written to a file and back
	"internal/bulk":      {"internal/filter", "internal/job", "internal/queue", "internal/view"},

	"internal/broker": {"internal/access"}, // its users have roles
	"internal/minder": nil,
	"internal/gc":     nil,

	// The dashboard: a handler over a client, which shows what an operator sees of the insides.
	"web": {".", "internal/answer", "internal/arrival", "internal/audit", "internal/bulk", "internal/explain", "internal/filter", "internal/job", "internal/problem", "internal/queue", "internal/registry", "internal/slots", "internal/stats", "internal/stream", "internal/supervisor", "internal/tally", "internal/timespan", "internal/verify", "internal/view", "internal/worker"},

	// The commands are users of the public package, like anybody else.
	"internal/cli":        {"internal/timespan"},
	"internal/configfile": {".", "web", "internal/cli", "internal/timespan"}, // the file of --config, which says what options of the packages are
	"internal/console":    {"internal/cli"},                                  // how screens are drawn and what keys do; what is on them the command says
	"cmd/worker":          {".", "tracing", "web", "internal/cli", "internal/configfile", "internal/otlp", "internal/broker", "internal/gc", "internal/minder", "internal/supervisor", "internal/timespan"},
	"cmd/enqueue":         {".", "tracing", "internal/cli", "internal/otlp", "internal/job", "internal/registry", "internal/stream", "internal/timespan"}, // what --resume keeps is in the registry
	// It shows and changes what there is: the types of the insides are what it prints.
	"cmd/millhand": {".", "web", "internal/answer", "internal/arrival", "internal/audit", "internal/backup", "internal/bulk", "internal/cli", "internal/configfile", "internal/console", "internal/drill", "internal/explain", "internal/filter", "internal/job", "internal/problem", "internal/queue", "internal/registry", "internal/stats", "internal/stream", "internal/supervisor", "internal/tally", "internal/timespan", "internal/verify", "internal/view", "internal/worker"},
	"examples/*":   {".", "flow", "pipeline", "pipeline/stream", "internal/broker", "internal/stages", "internal/supervisor"}, // they show the insides, too

	// A user of the public package too, beside the broker that it measures with, and the counters whose cost it measures.
	"bench": {".", "internal/broker", "internal/gc", "internal/job", "internal/tally"},

	// Tests only: these are in nobody's list.
	"internal/natstest":  nil,
	"internal/clitest":   {".", "internal/broker"},
	"internal/modeltest": nil,
	"test/arch":          nil,
	"test/integration":   nil,
}

func TestImports(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports,Module", module+"/...").Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		t.Fatalf("go list: %v\n%s", err, exit.Stderr)
	} else if err != nil {
		t.Fatal(err)
	}
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct {
			ImportPath string
			Imports    []string
			Module     struct{ Path string }
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
		if p.Module.Path != module {
			continue // a module below ours, which a workspace of whoever runs this has
		}
		may, ok := allowedFor(rel(p.ImportPath))
		if !ok {
			t.Errorf("%s: not in the table of allowed imports", p.ImportPath)
			continue
		}
		for _, imp := range p.Imports {
			if ours(imp) && !slices.Contains(may, rel(imp)) {
				t.Errorf("%s may not import %s", p.ImportPath, imp)
			}
		}
	}
}

func allowedFor(pkg string) ([]string, bool) {
	for pattern, may := range allowed {
		if ok, err := path.Match(pattern, pkg); ok && err == nil {
			return may, true
		}
	}
	return nil, false
}

func ours(importPath string) bool {
	return importPath == module || strings.HasPrefix(importPath, module+"/")
}

func rel(importPath string) string {
	return path.Clean(strings.TrimPrefix(strings.TrimPrefix(importPath, module), "/"))
}
