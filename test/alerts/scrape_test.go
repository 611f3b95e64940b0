package alerts

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
)

const root = "../.."

// jobFailed is the exit code of enqueue --wait for a job that died.
const jobFailed = 6

// A sample is one series of a scrape, with its value.
type sample struct {
	labels.Labels
	value float64
}

// scraped is what a worker that was built from this source serves, once it has run jobs of two types:
// /metrics and /metrics/cluster.
func scraped(t *testing.T) []sample {
	t.Helper()
	dir := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-o", dir, "./cmd/worker", "./cmd/enqueue")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	log := &output{found: make(chan [2]string, 1)}
	worker := exec.CommandContext(t.Context(), filepath.Join(dir, "worker"), "--http", "127.0.0.1:0", "--listen", "127.0.0.1:0", "--store", filepath.Join(dir, "store"), "--quota", "echo=3", "--log-level", "info")
	worker.Stderr = log
	worker.Cancel = func() error { return worker.Process.Signal(os.Interrupt) }
	if err := worker.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = worker.Process.Signal(os.Interrupt)
		_ = worker.Wait()
	})
	var at [2]string
	select {
	case at = <-log.found:
	case <-time.After(time.Minute):
		t.Fatalf("the worker does not say where it listens:\n%s", log)
	}
	for _, job := range [][]string{{"echo", `{}`, "--wait"}, {"sleep", `{"for":"not at all"}`, "--wait"}, {"crash", `{}`}, {"nobody", `{}`}} {
		cmd := exec.CommandContext(t.Context(), filepath.Join(dir, "enqueue"), append(job, "--server", at[1])...)
		out, err := cmd.CombinedOutput()
		if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() == jobFailed && job[0] == "sleep" {
			continue // it is to die
		}
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	var all []sample
	for _, path := range []string{"/metrics", "/metrics/cluster"} {
		all = append(all, read(t, at[0]+path)...)
	}
	return all
}

// read scrapes an address once.
func read(t *testing.T, url string) (all []sample) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v\n%s", url, resp.Status, err, body)
	}
	p := textparse.NewPromParser(body, labels.NewSymbolTable(), false)
	for {
		entry, err := p.Next()
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		if entry != textparse.EntrySeries {
			continue
		}
		_, _, value := p.Series()
		s := sample{value: value}
		p.Labels(&s.Labels)
		all = append(all, s)
	}
}

// An output is the log of a worker, which says where it listens: for health checks, and its broker.
type output struct {
	mu    sync.Mutex
	text  bytes.Buffer
	found chan [2]string
	told  bool
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text.Write(b)
	url := regexp.MustCompile(`url=(http://\S+)`).FindStringSubmatch(o.text.String())
	broker := regexp.MustCompile(`url=(nats://\S+)`).FindStringSubmatch(o.text.String())
	if url != nil && broker != nil && strings.Contains(o.text.String(), "worker started") && !o.told {
		o.told = true
		o.found <- [2]string{url[1], broker[1]}
	}
	return len(b), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// load is the scrape as tests of rules have it: each series for 40 minutes with its value, or with
// what the last fault says of it. "+" is a series besides.
func load(all []sample, faults ...fault) (descriptions []string) {
	for _, s := range all {
		name := s.Get(labels.MetricName)
		if !strings.HasPrefix(name, "millhand_") {
			continue
		}
		series := name + labels.NewBuilder(s.Labels).Del(labels.MetricName).Labels().String()
		values := strconv.FormatFloat(s.value, 'f', -1, 64) + "x40"
		for _, f := range faults {
			for pattern, v := range f {
				if pattern != "+" && regexp.MustCompile("^"+pattern).MatchString(series) {
					values = v
				}
			}
		}
		if values != "" {
			descriptions = append(descriptions, series+" "+values)
		}
	}
	for _, f := range faults {
		if f["+"] != "" {
			descriptions = append(descriptions, f["+"])
		}
	}
	return descriptions
}
