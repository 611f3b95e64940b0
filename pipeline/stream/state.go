package stream

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/nats-io/nats.go"

	internal "github.com/millhand/millhand/internal/stream"
	"github.com/millhand/millhand/pipeline"
)

// ErrStateTooLarge is what Run returns if what a fold knows of one partition is more than 64 MiB. What was kept before
// stays: a program whose accumulators are encoded smaller, or whose windows are shorter, goes on from there. More
// partitions make the state of each smaller, too, but [Regroup] has folds begin anew.
var ErrStateTooLarge = errors.New("pipeline/stream: the state of a fold is too large")

const (
	maxState  = 64 << 20
	maxInline = 600 << 10 // of all folds: the rest of a message is the cursor's. Base64 makes it a third more
	chunk     = 512 << 10
)

// errState is wrapped by the error of a state that cannot be read: by then it is not the broker's fault.
var errState = errors.New("pipeline/stream: the state of a fold cannot be read; a program that knows it can, and stream.ResetGroup forgets it")

// errEncode is wrapped by the error of a state that cannot be written, and is not the broker's fault either.
var errEncode = errors.New("pipeline/stream: an accumulator cannot be encoded")

// states are those of the folds of a partition as they were encoded last, stored or not.
type states struct {
	encoded map[string][]byte
	kept    []func()
	chunks  map[string]state // of those that are in chunks, as they are to be named
	fresh   map[string]bool  // encoded since the chunks were written
	old     []string         // those that it does not any more
	number  int
}

// take has folds encode what they know, if that has changed.
func (s *states) take(folds []pipeline.Checkpointed, partition int, seq uint64) (changed bool, err error) {
	for _, f := range folds {
		body, yes, kept, err := f.Checkpoint(partition, seq)
		if err != nil {
			return false, fmt.Errorf("%w: %w", errEncode, err)
		}
		if !yes {
			continue
		}
		if len(body) > maxState {
			return false, fmt.Errorf("%w: fold %s knows %d MiB of it, and %d MiB are the most: encode its accumulators smaller (AppendBinary), have fewer keys or shorter windows, or begin a group with more Partitions (stream.Regroup), in which folds begin anew",
				ErrStateTooLarge, f.StateName(), len(body)>>20, maxState>>20)
		}
		s.encoded[f.StateName()], s.fresh[f.StateName()] = body, true
		s.kept = append(s.kept, kept)
	}
	return len(s.kept) > 0, nil
}

// write stores in chunks what has no room in the cursor, and returns what the cursor says.
func (s *states) write(ctx context.Context, cs *cursors, partition int, epoch uint64) (folds []state, err error) {
	room := maxInline
	for _, name := range slices.Sorted(maps.Keys(s.encoded)) {
		body := s.encoded[name]
		if len(body) <= room {
			room -= len(body)
			delete(s.chunks, name)
			folds = append(folds, state{Name: name, State: body})
			continue
		}
		if s.fresh[name] || s.chunks[name].Count == 0 {
			s.number++
			of := state{Name: name, Chunks: fmt.Sprintf("%d-%d", epoch, s.number)}
			s.old = append(s.old, of.Chunks) // also if not all of it is stored
			for part := range slices.Chunk(body, chunk) {
				m := &nats.Msg{Subject: cs.subject(partition) + "." + of.Chunks + "." + strconv.Itoa(of.Count), Header: nats.Header{}, Data: part}
				if _, err := cs.client.Publish(ctx, m); err != nil {
					return nil, err
				}
				of.Count++
			}
			s.chunks[name], s.fresh[name] = of, false
		}
		folds = append(folds, s.chunks[name])
	}
	return folds, nil
}

// forget has all states written again: what was stored of them is gone.
func (s *states) forget() {
	clear(s.chunks)
	s.old = nil
}

// stored notes that the cursor is, and removes the chunks that it does not name.
func (s *states) stored(ctx context.Context, cs *cursors, partition int) {
	for _, kept := range s.kept {
		kept()
	}
	s.kept = nil
	var used []string
	for _, of := range s.chunks {
		used = append(used, of.Chunks)
	}
	left := s.old[:0]
	for _, chunks := range s.old {
		if slices.Contains(used, chunks) {
			left = append(left, chunks)
			continue
		}
		if _, err := cs.client.Purge(ctx, cs.stream(), internal.Purge{Subject: cs.subject(partition) + "." + chunks + ".*"}); err != nil {
			left = append(left, chunks)
		}
	}
	s.old = left
}

// beginFolds gives folds what was kept for them.
func (p *partition) beginFolds(ctx context.Context, kept []state) error {
	p.states = states{encoded: map[string][]byte{}, chunks: map[string]state{}, fresh: map[string]bool{}}
	for _, of := range kept {
		body := of.State
		for i := range of.Count {
			m, err := p.group.client.Last(ctx, p.group.cursors.stream(), p.group.cursors.subject(p.n)+"."+of.Chunks+"."+strconv.Itoa(i))
			if err != nil {
				return fmt.Errorf("chunk %d of the state of fold %s: %w", i, of.Name, err)
			}
			body = append(body, m.Data...)
		}
		if of.Count > 0 {
			p.states.chunks[of.Name] = of
			p.states.old = append(p.states.old, of.Chunks)
		}
		p.states.encoded[of.Name] = body
	}
	for _, f := range p.group.folds {
		if err := f.Begin(p.lease, p.n, p.states.encoded[f.StateName()]); err != nil { //nolint:contextcheck // it is the partition's, for as long as that is owned
			return fmt.Errorf("%w: %w", errState, err)
		}
	}
	return nil
}
