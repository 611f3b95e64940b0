package main

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestGauge(t *testing.T) {
	ramp := func(from, step float64) (s series) {
		for i := range 40 {
			s = append(s, from+float64(i)*step)
		}
		return s
	}
	for _, tt := range []struct {
		name   string
		values series
		flat   bool
	}{
		{"nothing", nil, true},
		{"constant", ramp(100, 0), true},
		{"warms up", append(ramp(0, 10)[:10], ramp(100, 0)[:30]...), true},
		{"one peak", append(ramp(100, 0)[:39], 1000), true},
		{"leaks", ramp(100, 2), false},
		{"within slack", ramp(10, 0.1), true},
	} {
		if early, late, flat := (gauge{slack: 8, values: tt.values}).judge(); flat != tt.flat {
			t.Errorf("%s: from %v to %v is called flat: %t", tt.name, early, late, flat)
		}
	}
}

func TestWatch(t *testing.T) {
	var w watch
	var out strings.Builder
	for i := range 40 {
		leaking := usage{Heap: uint64(i) * 10e6, RSS: 50e6, Goroutines: 30}
		steady := usage{Heap: 5e6, RSS: 20e6, Goroutines: 200}
		if err := w.add(&out, time.Duration(i)*time.Second, 7, leaking, steady); err != nil {
			t.Fatal(err)
		}
	}
	err := w.verdict(&out)
	if !errors.Is(err, errGrows) || !strings.Contains(err.Error(), "heap of the broker") || strings.Contains(err.Error(), "worker") {
		t.Errorf("verdict = %v, want the heap of the broker only", err)
	}
}
