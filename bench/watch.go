package main

import (
	"errors"
	"fmt"
	"io"
	"time"
)

// A watch collects what a soak's broker and longest-lived worker hold over the time.
type watch struct {
	gauges []gauge
}

// A gauge is one quantity over the time.
type gauge struct {
	name   string
	slack  float64 // that it may grow by without being called so, besides a tenth
	values series
}

const growth = 1.1

// What may still come and go when everything else is flat.
const (
	slackMB         = 16
	slackGoroutines = 50 // some jobs are running whenever one looks
)

var errGrows = errors.New("grows")

func (*watch) head(out io.Writer) error {
	_, err := fmt.Fprintf(out, "%8s %9s | %-33s | %s\n%8s %9s | %9s %9s %13s | %9s %9s %13s\n",
		"", "", "broker", "worker", "time", "open jobs", "RSS MB", "heap MB", "goroutines", "RSS MB", "heap MB", "goroutines")
	return err
}

// add notes a moment, and prints it.
func (w *watch) add(out io.Writer, elapsed time.Duration, open int, broker, worker usage) error {
	if w.gauges == nil {
		for _, of := range []string{"broker", "worker"} {
			w.gauges = append(w.gauges,
				gauge{name: "RSS of the " + of, slack: 2 * slackMB}, // the collector gives pages back late
				gauge{name: "heap of the " + of, slack: slackMB},
				gauge{name: "goroutines of the " + of, slack: slackGoroutines})
		}
	}
	values := make([]any, 0, 8)
	values = append(values, elapsed.Round(time.Second), open)
	for i, u := range []usage{broker, worker} {
		for j, v := range []float64{float64(u.RSS) / 1e6, float64(u.Heap) / 1e6, float64(u.Goroutines)} {
			g := &w.gauges[3*i+j]
			g.values = append(g.values, v)
			values = append(values, v)
		}
	}
	_, err := fmt.Fprintf(out, "%8v %9d | %9.1f %9.1f %13.0f | %9.1f %9.1f %13.0f\n", values...)
	return err
}

// verdict prints what became of each gauge, and returns an error for those that grow.
func (w *watch) verdict(out io.Writer) error {
	var errs []error
	for _, g := range w.gauges {
		early, late, flat := g.judge()
		if !flat {
			errs = append(errs, fmt.Errorf("%s %w: from %.1f to %.1f", g.name, errGrows, early, late))
		}
		if _, err := fmt.Fprintf(out, "%-24s %8.1f early, %8.1f late\n", g.name, early, late); err != nil {
			return err
		}
	}
	return errors.Join(errs...)
}

// judge compares the last quarter with the second one: by then all caches are full.
func (g gauge) judge() (early, late float64, flat bool) {
	quarter := len(g.values) / 4
	if quarter == 0 {
		return 0, 0, true
	}
	early, late = g.values[quarter:2*quarter].median(), g.values[len(g.values)-quarter:].median()
	return early, late, late <= early*growth+g.slack
}
