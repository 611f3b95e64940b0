package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand"
)

func configOf(t *testing.T, text string) (config, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "millhand.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return readConfig(file)
}

func TestBackoffOfAFile(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]millhand.Backoff{
		`{}`:                           {},
		`{jitter: 0}`:                  {Jitter: -1},
		`{jitter: 0.5}`:                {Jitter: 0.5},
		`{factor: 1}`:                  {Factor: 1},
		`{initial: 5s, max: 5s}`:       {Initial: 5 * time.Second, Max: 5 * time.Second},
		`{max: 10ms}`:                  {Max: 10 * time.Millisecond},
		`{initial: 2h, max: 3h}`:       {Initial: 2 * time.Hour, Max: 3 * time.Hour},
		`{initial: , max: , jitter: }`: {},
	} {
		c, err := configOf(t, "types: {a: {exec: [cat], backoff: "+text+"}}")
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := c.Types["a"].Backoff.backoff(); got != want {
			t.Errorf("%s = %+v, want %+v", text, got, want)
		}
	}
	for text, want := range map[string]string{
		`{factor: 0}`:             "factor: 0 must be a number from 1",
		`{factor: 0.99}`:          "factor: 0.99 must be",
		`{factor: .inf}`:          "factor: +Inf must be",
		`{factor: .nan}`:          "factor: NaN must be",
		`{jitter: 1}`:             "jitter: 1 must be from 0 to less than 1",
		`{jitter: -0.1}`:          "jitter: -0.1 must be",
		`{jitter: .nan}`:          "jitter: NaN must be",
		`{initial: 0s}`:           "initial: 0s must be more than 0",
		`{initial: -1s}`:          "initial: -1s must be more than 0",
		`{max: -1s}`:              "max: -1s must be more than 0",
		`{initial: 2s, max: 1s}`:  "initial: 2s is more than max, 1s",
		`{initial: 2h}`:           "initial: 2h0m0s is more than max, 1h0m0s",
		`{initial: 1s, max: 0ms}`: "max: 0s must be more than 0",
	} {
		_, err := configOf(t, "types: {a: {exec: [cat], backoff: "+text+"}}")
		if err == nil || !strings.HasPrefix(err.Error(), "--config: type a: backoff: "+want) {
			t.Errorf("%s: error %v, want %q", text, err, want)
		}
	}
}

// What the command lets pass, the package must not refuse: by then the broker runs.
func TestNamesAreCheckedAsThePackageDoes(t *testing.T) {
	nc, err := nats.Connect(startTestBroker(t, t.TempDir(), 0).ClientURL(), millhand.ConnectOptions(slog.New(slog.DiscardHandler))...)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	mux := millhand.NewMux()
	addBuiltin(mux)
	for _, name := range []string{
		"", "a", "A-z_09", "a b", "a.b", "ä", "*", `"`, "event", "dead", "control", "ready", "later", "pin", "events",
		strings.Repeat("a", 64), strings.Repeat("a", 65),
	} {
		_, err := millhand.NewWorker(nc, millhand.WorkerConfig{Mux: mux, Queues: []millhand.Queue{{Name: name}}})
		ours := checkQueue(name)
		if (ours == nil) != (err == nil) || ours != nil && !strings.HasSuffix(err.Error(), ours.Error()) {
			t.Errorf("queue %q: %v, the package says %v", name, ours, err)
		}
		if name == "" {
			continue // the default namespace
		}
		_, err = millhand.NewWorker(nc, millhand.WorkerConfig{Config: millhand.Config{Namespace: name}, Mux: mux})
		if ours := checkName(name); (ours == nil) != (err == nil) {
			t.Errorf("namespace %q: %v, the package says %v", name, ours, err)
		}
	}
}

func TestMaxStuckOfAFile(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{ // in the library 0 is the default
		`{}`: 0, `{max_stuck: }`: 0, `{max_stuck: 0}`: -1, `{max_stuck: 3}`: 3,
	} {
		c, err := configOf(t, text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if w, err := c.worker(nil, nil, addBuiltin); err != nil || w.MaxAbandoned != want {
			t.Errorf("%s = %d, %v, want %d", text, w.MaxAbandoned, err, want)
		}
	}
}

// A queue's own concurrency is the file's: a flag that names the queue again keeps it, as it keeps its limits.
func TestQueueConcurrencyOfAFile(t *testing.T) {
	t.Parallel()
	c, err := configOf(t, "queues: {low: {concurrency: 2}, high: 6}")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.addQueues([]string{"low=3", "other"}); err != nil {
		t.Fatal(err)
	}
	w, err := c.worker(nil, nil, addBuiltin)
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(w.Queues, func(a, b millhand.Queue) int { return strings.Compare(a.Name, b.Name) })
	if want := []millhand.Queue{{Name: "low", Weight: 3, Concurrency: 2}, {Name: "other", Weight: 1}}; !slices.Equal(w.Queues, want) {
		t.Errorf("queues %+v, want %+v", w.Queues, want)
	}
	for text, want := range map[string]string{
		"0": "concurrency 0, must be at least 1", "-1": "concurrency -1, must be from 1 to", "100001": "concurrency 100001, must be from 1 to",
	} {
		if _, err := configOf(t, "queues: {low: {concurrency: "+text+"}}"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", text, err, want)
		}
	}
}
