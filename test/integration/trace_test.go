package integration

import (
	"bytes"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// startCollector starts what receives what is exported over OTLP/HTTP.
func startCollector(t *testing.T) (url string, spans chan *tracepb.Span) {
	t.Helper()
	spans = make(chan *tracepb.Span, 100)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var got tracepb.TracesData
		if err != nil || r.URL.Path != "/v1/traces" || proto.Unmarshal(body, &got) != nil {
			t.Errorf("%s %s: %v", r.Method, r.URL, err)
			return
		}
		for _, of := range got.ResourceSpans {
			for _, in := range of.ScopeSpans {
				for _, span := range in.Spans {
					spans <- span
				}
			}
		}
	}))
	t.Cleanup(server.Close)
	return server.URL, spans
}

// The commands send spans over OTLP: an enqueue, and a run that is linked to it, whose context its
// command has in the environment.
func TestSpansAreSent(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	url, spans := startCollector(t)
	env := []string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + url, "OTEL_BSP_SCHEDULE_DELAY=50"}
	cmd := exec.Command(commands.worker, "--http", "", "-s", b.URL, "--exec", "trace=printenv TRACEPARENT")
	cmd.Env = env
	launch(t, "worker", cmd).awaitLog(t, "worker started")
	cmd = exec.CommandContext(t.Context(), commands.enqueue, "-s", b.URL, "--wait=30s", "trace")
	cmd.Env = append(environment(t), env...)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	byName := make(map[string]*tracepb.Span)
	for len(byName) < 2 {
		span := receive(t, "a span", spans)
		byName[span.Name] = span
	}
	enqueue, run := byName["enqueue default.trace"], byName["process default.trace"]
	if enqueue == nil || run == nil || len(run.Links) != 1 || !bytes.Equal(run.Links[0].SpanId, enqueue.SpanId) || bytes.Equal(run.TraceId, enqueue.TraceId) {
		t.Fatalf("spans %v", byName)
	}
	if id := hex.EncodeToString(run.TraceId) + "-" + hex.EncodeToString(run.SpanId); !strings.Contains(string(out), id) {
		t.Errorf("the command did not see %s: %s", id, out)
	}
}

// A collector that hangs holds neither an enqueue nor a worker up.
func TestCollectorHangs(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	released := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-released }))
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(released) })
	env := []string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + server.URL, "OTEL_BSP_SCHEDULE_DELAY=50"}
	cmd := exec.Command(commands.worker, "--http", "", "-s", b.URL)
	cmd.Env = env
	w := launch(t, "worker", cmd)
	w.awaitLog(t, "worker started")
	cmd = exec.CommandContext(t.Context(), commands.enqueue, "-s", b.URL, "--wait=30s", "echo")
	cmd.Env = append(environment(t), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	w.signal(t, syscall.SIGTERM)
	select {
	case <-w.exited:
	case <-time.After(patience):
		t.Error("the worker waits for the collector")
	}
}
