package main

import (
	"fmt"
	"io"
	"time"

	"github.com/schollz/progressbar/v3"

	"github.com/millhand/millhand/internal/cli"
)

// progressEvery is how often a line is written where there is no terminal to draw on.
const progressEvery = 10 * time.Second

// progress draws on a terminal and writes a line now and then elsewhere.
type progress struct {
	out   io.Writer
	bar   *progressbar.ProgressBar
	start time.Time
	last  time.Time
}

func newProgress(out io.Writer) *progress {
	p := &progress{out: out, start: time.Now(), last: time.Now()}
	if cli.IsTerminal(out) {
		p.bar = progressbar.NewOptions(-1, progressbar.OptionSetWriter(out), progressbar.OptionSetDescription("enqueueing"),
			progressbar.OptionShowIts(), progressbar.OptionShowCount(), progressbar.OptionSetItsString("jobs"),
			progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish())
	}
	return p
}

func (p *progress) show(n int) {
	switch {
	case p.bar != nil:
		_ = p.bar.Set(n) // drawing is for show
	case time.Since(p.last) >= progressEvery:
		p.last = time.Now()
		_, _ = fmt.Fprintf(p.out, "enqueue: %d lines, %.0f/s\n", n, float64(n)/time.Since(p.start).Seconds()) // for show
	}
}

func (p *progress) clear() {
	if p.bar != nil {
		_ = p.bar.Clear()
	}
}

func (p *progress) end() {
	if p.bar != nil {
		_ = p.bar.Finish()
	}
}
