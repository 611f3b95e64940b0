package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestThousands(t *testing.T) {
	for _, tt := range []struct {
		v      float64
		digits int
		want   string
	}{
		{0, 0, "0"}, {999, 0, "999"}, {1000, 0, "1,000"}, {1234567.891, 2, "1,234,567.89"}, {-1000, 1, "-1,000.0"}, {999.6, 0, "1,000"},
	} {
		if got := thousands(tt.v, tt.digits); got != tt.want {
			t.Errorf("thousands(%v, %d) = %q, want %q", tt.v, tt.digits, got, tt.want)
		}
	}
}

func TestMarkdown(t *testing.T) {
	r := report{Machine: "a machine", Time: time.Date(2026, 11, 22, 9, 30, 0, 0, time.UTC), Rounds: 3, Jobs: 100_000}
	r.add(work{name: "drain", rows: []row{
		{title: "drain", measure: "rate", unit: "jobs/s", of: mill, against: raw, beside: rawAlike, budget: budget{atLeast: 0.5}},
		{title: "CPU", measure: "cpu", unit: "µs/job", digits: 1, of: mill, beside: raw, budget: budget{atMost: 25}},
		{title: "not there", measure: "rate", unit: "jobs/s", of: "nobody", against: raw, budget: budget{atLeast: 0.5}},
		{title: "no budget", measure: "rate", unit: "jobs/s", of: mill},
	}}, map[string][]sample{
		mill:     {{"rate": 4000, "cpu": 30}, {"rate": 6000, "cpu": 20}, {"rate": 5000, "cpu": 31}},
		raw:      {{"rate": 10000, "cpu": 8}, {"rate": 10000, "cpu": 8}, {"rate": 8000, "cpu": 8}},
		rawAlike: {{"rate": 9000}, {"rate": 9000}, {"rate": 9000}},
	})
	const want = `a machine, 2026-11-22 09:30 UTC, 3 rounds, 100,000 jobs

| work | unit | Millhand | against | beside | ratio | budget | |
| --- | --- | ---: | ---: | ---: | ---: | ---: | --- |
| drain | jobs/s | 5,000 (4,000–6,000) | raw 10,000 (8,000–10,000) | raw alike 9,000 (9,000–9,000) | 0.60 (0.40–0.62) | ≥ 0.5 | pass |
| CPU | µs/job | 30.0 (20.0–31.0) |  | raw 8.0 (8.0–8.0) |  | ≤ 25 | **miss** |
| not there | jobs/s | n/a | raw 10,000 (8,000–10,000) |  |  | ≥ 0.5 |  |
| no budget | jobs/s | 5,000 (4,000–6,000) |  |  |  |  |  |
`
	var b strings.Builder
	if err := r.writeMarkdown(&b); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Error(diff)
	}
}

func TestChoose(t *testing.T) {
	all := []work{{name: "a"}, {name: "b"}, {name: "c"}}
	got, err := choose(all, []string{"c", "a"})
	if err != nil || len(got) != 2 || got[0].name != "a" || got[1].name != "c" {
		t.Errorf("choose = %v, %v, want a and c", got, err)
	}
	if _, err := choose(all, []string{"d"}); err == nil {
		t.Error("a name of no work is accepted")
	}
}
