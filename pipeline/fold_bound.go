package pipeline

import (
	"errors"
	"fmt"
)

// ErrTooManyKeys is what Run returns if a fold would keep more accumulators than [FoldConfig.MaxKeys] allows.
var ErrTooManyKeys = errors.New("pipeline: too many keys")

// count keeps up how much the fold has of the partition.
func (p *foldPart[K, V, A]) count() {
	if p.dropped {
		return
	}
	f := p.fold
	keys, pending := p.op.Accumulators(), len(p.windows)
	f.keys += keys - p.keys
	f.pending += pending - p.pending
	p.keys, p.pending = keys, pending
}

// bound ends the run if the partition has more keys than before and the fold has too many. What is folded by then is kept.
func (p *foldPart[K, V, A]) bound() {
	f, before := p.fold, p.keys
	p.count()
	limit := f.config.MaxKeys
	if limit == 0 || f.keys <= limit || p.keys <= before {
		return
	}
	p.blocked = true
	f.run.stop(fmt.Errorf("%w: fold %s has more than %d accumulators, one for each key in each open window: raise MaxKeys if there is memory for more, "+
		"have windows close sooner (Size, Delay, Late), fold by a key with fewer values, or run more processes", ErrTooManyKeys, f.config.Name, limit))
	f.run.abort(ErrHandedBack)
}

// crowded reports whether so many windows wait to be handled that nothing more is folded before some are.
func (f *folding[K, V, A]) crowded() bool {
	return f.config.MaxKeys > 0 && f.pending >= f.config.MaxKeys
}

// resume folds what has waited for windows to be handled. It returns what is out of hand with that, and the partitions
// that have windows to be handled again.
func (f *folding[K, V, A]) resume() (ended []*envelope, emitted map[int]bool) {
	emitted = map[int]bool{}
	for n, p := range f.parts {
		before := len(p.windows)
		ended = append(ended, p.advance()...)
		ended = append(ended, p.takeReleased()...)
		emitted[n] = len(p.windows) > before
	}
	return ended, emitted
}

// refuse hands back what waits for windows to be handled, when the run ends.
func (f *folding[K, V, A]) refuse() (back []*envelope) {
	for _, p := range f.parts {
		p.blocked = true
		back = append(back, p.giveUp()...)
	}
	return back
}

// drop forgets a partition that is no longer this process's.
func (f *folding[K, V, A]) drop(p *foldPart[K, V, A]) {
	f.mu.Lock()
	ended := f.forget(p)
	more, emitted := f.resume()
	f.mu.Unlock()
	f.tellStore(emitted)
	f.run.settle(append(ended, more...))
}

// forget forgets a partition, and returns the messages that are handed back with it.
func (f *folding[K, V, A]) forget(p *foldPart[K, V, A]) (back []*envelope) {
	if p == nil || p.dropped {
		return nil
	}
	p.dropped = true
	f.keys -= p.keys
	f.pending -= p.pending
	if f.parts[p.n] == p {
		delete(f.parts, p.n)
	}
	return p.giveUp()
}
