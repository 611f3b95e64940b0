package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/broker"
)

const (
	concurrency = 16   // jobs at once on each worker
	batch       = 1000 // jobs enqueued at once
)

// fileArgs is the job of one file.
type fileArgs struct {
	Path string `json:"path"`
}

func (fileArgs) Type() string { return "checksum" }

// work runs a worker until ctx ends, and then hands back at once the jobs that still run.
func work(ctx context.Context, b *broker.Broker) error {
	nc, err := nats.Connect("", append(millhand.ConnectOptions(quiet().Logger), nats.InProcessServer(b))...)
	if err != nil {
		return err
	}
	defer nc.Close()
	mux := millhand.NewMux()
	millhand.HandleResult(mux, func(_ context.Context, j *millhand.Job[fileArgs]) (string, error) {
		sum, err := checksum(j.Args.Path)
		if errors.Is(err, fs.ErrNotExist) {
			err = millhand.Permanent(err)
		}
		return sum, err
	})
	w, err := millhand.NewWorker(nc, millhand.WorkerConfig{Config: quiet(), Mux: mux, Concurrency: concurrency, DrainTimeout: -1}) //nolint:contextcheck // it outlives the call
	if err != nil {
		return err
	}
	if err := w.Run(ctx); !errors.Is(err, millhand.ErrDrainTimeout) {
		return err
	}
	return nil
}

// checksum is the SHA-256 of a file in hexadecimal, as sha256sum prints it.
func checksum(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }() // only read
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// goFiles returns Go's own source files. If limit is not 0, it returns at most that many.
func goFiles(ctx context.Context, limit int) (files []string, err error) {
	root, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return nil, fmt.Errorf("where is Go? go env: %w", err)
	}
	err = filepath.WalkDir(filepath.Join(strings.TrimSpace(string(root)), "src"), func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case limit > 0 && len(files) == limit:
			return fs.SkipAll
		case !d.IsDir() && filepath.Ext(path) == ".go":
			files = append(files, path)
		}
		return nil
	})
	return files, err
}

// results collects what the events say. Only collect and, after it, check use them.
type results struct {
	since time.Time // of the events
	sums  map[string]string
	ends  int // runs that ended, one way or another
}

func newResults(since time.Time) *results {
	return &results{since: since, sums: make(map[string]string)}
}

// enqueue enqueues a job for each file. The file's number in the list is the job's id.
func (r *results) enqueue(ctx context.Context, client *millhand.Client, files []string) error {
	var requests []millhand.Request
	for i, f := range files {
		requests = append(requests, millhand.Request{Args: fileArgs{Path: f}, Options: []millhand.EnqueueOption{millhand.WithID(id(i))}})
		if len(requests) < batch && i < len(files)-1 {
			continue
		}
		if _, err := client.EnqueueMany(ctx, requests); err != nil {
			return err
		}
		requests = requests[:0]
	}
	return nil
}

func id(i int) string { return fmt.Sprintf("file-%d", i) }

// collect reads events until all jobs have ended, and reports when half of them have.
func (r *results) collect(ctx context.Context, client *millhand.Client, jobs int, halfway func()) error {
	for e, err := range client.Events(ctx, r.since.Add(-time.Second)) {
		if err != nil {
			return err
		}
		r.ends++
		if !e.State.Final() {
			continue
		}
		var sum string
		if err := json.Unmarshal(e.Result, &sum); err != nil {
			sum = string(e.Kind) + ": " + e.Error
		}
		r.sums[e.ID] = sum
		if len(r.sums) == jobs/2 {
			halfway()
		}
		if len(r.sums) == jobs {
			return nil
		}
	}
	return context.Cause(ctx)
}

// check compares the results with what this process computes itself.
func (r *results) check(out io.Writer, files []string, took time.Duration) error {
	var wrong []string
	for i, f := range files {
		want, err := checksum(f)
		if err != nil {
			return err
		}
		if got := r.sums[id(i)]; got != want {
			wrong = append(wrong, fmt.Sprintf("%s: got %q, want %q", f, got, want))
		}
	}
	if len(wrong) > 0 {
		return fmt.Errorf("%d of %d sums are wrong:\n%s", len(wrong), len(files), strings.Join(wrong, "\n"))
	}
	_, err := fmt.Fprintf(out, `%d files, one job each, by 2 workers of %d jobs at once: %.1f s, %.0f jobs/s.
One worker was stopped in the middle; %d running jobs were handed back and ran again.
All sums are right.
`, len(files), concurrency, took.Seconds(), float64(len(files))/took.Seconds(), r.ends-len(files))
	return err
}
