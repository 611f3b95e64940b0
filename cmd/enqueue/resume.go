package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"sync"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/cli"
	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/registry"
	"github.com/millhand/millhand/internal/stream"
)

// A named is a bulk with a name, of --resume: the registry knows how far it has come, so that the same
// command goes on from there, whatever ended it early.
//
// Each of its jobs has an id, of its line if of nothing else, and is enqueued on the condition that the
// id is free. At most one batch is in doubt when a run is killed: the one that was sent last, whose
// jobs the next run looks for before it sends them. They may have been stored, and may have ended.
type named struct {
	name     string
	keeper   *registry.BulkKeeper
	before   registry.Bulk // what earlier runs did
	doubt    int           // jobs to be looked for before they are sent
	patience time.Duration // with a broker that does not answer; 0: as long as it takes
}

// openNamed returns how far the bulk of a name has come.
func openNamed(ctx context.Context, store *registry.Store, name string, patience time.Duration) (*named, error) {
	keeper, before, err := store.OpenBulk(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("--resume %s: %w", name, err)
	}
	n := &named{name: name, keeper: keeper, before: before, doubt: bulkBatch, patience: patience}
	if before.SHA256 == "" { // nobody has begun: say that somebody has now
		n.doubt = 0
		n.before.SHA256 = hex.EncodeToString(sha256.New().Sum(nil)) // of no lines
		err = n.save(ctx, n.before)
	}
	return n, err
}

func (n *named) save(ctx context.Context, b registry.Bulk) error {
	if n.patience > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, n.patience)
		defer cancel()
	}
	if err := n.keeper.Save(ctx, b); err != nil {
		return fmt.Errorf("keep how far %s has come: %w", n.name, err)
	}
	return nil
}

// skip reads the lines of which it is known what became of them, and returns how many were for jobs.
func (n *named) skip(ctx context.Context, in *lines) (jobs int, err error) {
	for in.number < n.before.Lines {
		text, err := in.next(ctx)
		switch {
		case errors.Is(err, io.EOF):
			return jobs, n.otherInput()
		case err != nil && !errors.Is(err, errLineTooLong):
			return jobs, err
		case err != nil || len(bytes.TrimSpace(text)) > 0:
			jobs++
		}
	}
	if in.sum() != n.before.SHA256 {
		return jobs, n.otherInput()
	}
	return jobs, nil
}

func (n *named) otherInput() error {
	return cli.Usagef("the first %d lines are not those of run %s: use another name for another input", n.before.Lines, n.name)
}

// identify gives the job of a line an id if it has none.
func (n *named) identify(e *entry) {
	if e.id != "" {
		return
	}
	e.id = job.ResumedID(n.name, e.number)
	e.request.Options = append(e.request.Options, millhand.WithID(e.id))
}

// looksAtOnce is how many jobs are looked for at the same time.
const looksAtOnce = 64

// found returns what is known of each job of a batch that is in doubt; the state is empty if nothing
// is. It asks the stream's leader for each of them: what a replica does not know yet would be
// enqueued twice.
func (n *named) found(ctx context.Context, client *millhand.Client, batch []entry) ([]millhand.Info, error) {
	known := make([]millhand.Info, len(batch))
	if n.doubt <= 0 {
		return known, nil
	}
	n.doubt -= len(batch)
	alive := stream.Within(cmp.Or(n.patience, math.MaxInt64))
	errs := make([]error, len(batch))
	slots := make(chan struct{}, looksAtOnce)
	var looks sync.WaitGroup
	for i, e := range batch {
		slots <- struct{}{}
		looks.Go(func() {
			defer func() { <-slots }()
			var err error
			known[i], err = stream.RetryRead(ctx, alive, func(ctx context.Context) (millhand.Info, error) {
				info, err := client.Get(ctx, millhand.Ref{Queue: e.queue, Type: e.typ, ID: e.id})
				if errors.Is(err, millhand.ErrNotFound) || errors.Is(err, millhand.ErrInvalid) {
					return millhand.Info{}, nil
				}
				return info, err
			})
			if err != nil {
				errs[i] = fmt.Errorf("look whether line %d is enqueued: %w", e.number, err)
			}
		})
	}
	looks.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return known, nil
}
