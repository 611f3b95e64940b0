package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
)

// journal prints what the stages do, and calls done when the fate of every page is known. Errors of
// printing are ignored.
type journal struct {
	mu    sync.Mutex
	out   io.Writer
	pages int
	fates map[string]string
	done  func()
	armed map[string]bool // The stages that have not crashed yet.
}

func newJournal(out io.Writer, pages int, done func()) *journal {
	return &journal{out: out, pages: pages, done: done, fates: map[string]string{}, armed: map[string]bool{}}
}

func (j *journal) say(who, format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	_, _ = fmt.Fprintf(j.out, "%-8s %s\n", who, fmt.Sprintf(format, args...))
}

func (j *journal) fate(page, fate string) {
	j.say("page", "%s is %s", page, fate)
	j.mu.Lock()
	defer j.mu.Unlock()
	j.fates[page] = fate
	if len(j.fates) == j.pages {
		j.done()
	}
}

// arm makes stages crash, each at its next call of strikes.
func (j *journal) arm(stages ...string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, stage := range stages {
		j.armed[stage] = true
	}
}

// strikes reports whether the stage is to crash now. It does so once.
func (j *journal) strikes(stage string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	struck := j.armed[stage]
	delete(j.armed, stage)
	return struck
}

// summary prints how many pages had each fate.
func (j *journal) summary() {
	j.mu.Lock()
	defer j.mu.Unlock()
	count := map[string]int{}
	for _, fate := range j.fates {
		count[fate]++
	}
	for _, fate := range slices.Sorted(maps.Keys(count)) {
		_, _ = fmt.Fprintf(j.out, "%d pages %s\n", count[fate], fate)
	}
}
