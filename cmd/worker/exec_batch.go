package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/configfile"
	"github.com/millhand/millhand/internal/minder"
)

// batchConfig has the jobs of a type handled many at once.
type batchConfig struct {
	Size   *configfile.Count    `yaml:"size"` // nil: the default
	Wait   *configfile.Duration `yaml:"wait"`
	Bisect configfile.Boolean   `yaml:"bisect"`
}

func (b *batchConfig) check() error {
	switch {
	case b.Size != nil && *b.Size == 0:
		return errors.New("size: 0 must be at least 1; leave it out for the default")
	case valueOr(b.Size, 1) > millhand.MaxBatchSize:
		return errors.New("size: must be at most 10000")
	case b.Wait != nil && *b.Wait <= 0:
		return errors.New("wait: must be more than 0")
	}
	return nil
}

func (b *batchConfig) settings() millhand.BatchConfig[millhand.Raw] {
	return millhand.BatchConfig[millhand.Raw]{
		Size: int(valueOr(b.Size, 0)), Wait: time.Duration(valueOr(b.Wait, 0)), Bisect: bool(b.Bisect),
	}
}

// A batchJob is what a command is told of one of its jobs.
type batchJob struct {
	ID      string            `json:"id"`
	Attempt int               `json:"attempt"`
	Meta    map[string]string `json:"meta,omitempty"`
	Payload json.RawMessage   `json:"payload,omitempty"`
	Bytes   []byte            `json:"payload_base64,omitempty"` // of a payload that is no JSON
}

// handleBatch runs one command for many jobs: standard input is an array of them, and each line on the
// control descriptor fails one. Exit code 0 is the success of all others.
func (c *commandType) handleBatch(ctx context.Context, b *millhand.JobBatch[millhand.Raw]) error {
	input, err := batchInput(b)
	if err != nil {
		return millhand.Permanent(err)
	}
	first := b.Jobs[0]
	said := &batchControl{fail: failing(b), log: first.Logger()}
	_, err = c.trouble.patiently(ctx, func() ([]byte, error) {
		res, err := c.minder.Run(ctx, minder.Command{
			Argv: c.argv, Env: batchEnvironment(c.env, first), Stdin: input, Until: leaseOf(b), Control: said,
			Stopped: func() time.Duration { return min(millhand.Grace(ctx), minder.DefaultGrace) },
		})
		said.end()
		if errors.Is(err, minder.ErrMinderDied) && c.trouble.minderDied(first.Ref) {
			return nil, millhand.HandBack(err)
		}
		if !errors.Is(err, minder.ErrMinderDied) {
			c.trouble.ended(first.Ref)
		}
		return verdict(res, err, context.Cause(ctx), nil)
	})
	return err
}

// batchInput is what the command reads.
func batchInput(b *millhand.JobBatch[millhand.Raw]) ([]byte, error) {
	jobs := make([]batchJob, len(b.Jobs))
	for i, j := range b.Jobs {
		jobs[i] = batchJob{ID: j.ID, Attempt: j.Attempt, Meta: j.Meta}
		if json.Valid(j.Args.Payload) {
			jobs[i].Payload = j.Args.Payload
		} else {
			jobs[i].Bytes = j.Args.Payload
		}
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out) // which ends with a line feed
	enc.SetEscapeHTML(false)
	err := enc.Encode(jobs)
	return out.Bytes(), err
}

// leaseOf is until when all jobs of a batch that are not lost are surely this worker's.
func leaseOf(b *millhand.JobBatch[millhand.Raw]) func() time.Time {
	return func() (until time.Time) {
		for _, j := range b.Jobs {
			if b.Lost(j) != nil {
				continue
			}
			if u := j.LeaseUntil(); until.IsZero() || u.Before(until) {
				until = u
			}
		}
		return until
	}
}

// batchEnvironment is that of a command without what is of one job.
func batchEnvironment(base []string, j *millhand.Job[millhand.Raw]) []string {
	shared := &millhand.Job[millhand.Raw]{Ref: millhand.Ref{Type: j.Type, Queue: j.Queue}}
	return environment(base, shared, envID, envAttempt)
}

// failing fails jobs by their ids.
func failing(b *millhand.JobBatch[millhand.Raw]) func(failedJob) error {
	byID := make(map[string]*millhand.Job[millhand.Raw], len(b.Jobs))
	for _, j := range b.Jobs {
		byID[j.ID] = j
	}
	return func(f failedJob) error {
		j := byID[f.ID]
		if j == nil {
			return errors.New("no job of this call has the id " + f.ID)
		}
		if f.Error == "" {
			f.Error = "the command says that it failed"
		}
		err := errors.New(f.Error)
		if f.Permanent {
			err = millhand.Permanent(err)
		}
		b.Fail(j, err)
		return nil
	}
}

// A failedJob is what a command says of one.
type failedJob struct {
	ID        string `json:"id"`
	Error     string `json:"error"`
	Permanent bool   `json:"permanent"`
}

// batchLine is the longest line of a command, and batchSaid the most that is read of all.
const (
	batchLine = 64 << 10
	batchSaid = 16 << 20
)

// A batchControl takes the jobs that a command fails, a line of JSON each.
type batchControl struct {
	log  *slog.Logger
	fail func(failedJob) error

	line    []byte
	dropped bool
	read    int
}

// Write implements [io.Writer]. It never fails.
func (c *batchControl) Write(p []byte) (int, error) {
	kept := p[:min(len(p), batchSaid-c.read)]
	c.read += len(kept)
	for part := range bytes.Lines(kept) {
		text, ended := bytes.CutSuffix(part, []byte("\n"))
		if c.line = append(c.line, text...); len(c.line) > batchLine {
			c.line, c.dropped = c.line[:0], true
		}
		if ended {
			c.end()
		}
	}
	return len(p), nil
}

// end obeys the line that was begun, which the last one need not have ended.
func (c *batchControl) end() {
	line, dropped := bytes.TrimSpace(c.line), c.dropped
	c.dropped = false
	defer func() { c.line = c.line[:0] }()
	if len(line) == 0 && !dropped {
		return
	}
	var f failedJob
	err := errors.New("it is too long")
	if !dropped {
		if err = json.Unmarshal(line, &f); err == nil {
			err = c.fail(f)
		}
	}
	if err != nil {
		c.log.LogAttrs(context.Background(), slog.LevelWarn, "a line that should fail a job of a batch is not understood: that job ends with the command",
			slog.String("line", string(line)), slog.Any("err", err))
	}
}
