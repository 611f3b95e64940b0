package peers

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	events     = 100_000
	goroutines = 2
)

// contestant is how one of them does a piece of work.
type contestant[R any] struct {
	name string
	do   func(ctx context.Context) (R, error)
}

// compare measures all contestants, each of which has to come to want.
func compare[R any](b *testing.B, n int, want R, same func(got, want R) bool, contestants []contestant[R]) {
	b.Helper()
	for _, c := range contestants {
		b.Run(c.name, func(b *testing.B) {
			before := processor(b)
			for b.Loop() {
				if got, err := c.do(b.Context()); err != nil || !same(got, want) {
					b.Fatalf("a wrong result, or %v", err)
				}
			}
			per := float64(b.N) * float64(n)
			b.ReportMetric(float64(b.Elapsed())/per, "ns/event")
			b.ReportMetric(float64(processor(b)-before)/per, "cpu-ns/event")
		})
	}
}

// processor is how long this process has used it. Unlike the clock it does not mind what else runs.
func processor(b *testing.B) time.Duration {
	b.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

func equal(got, want uint64) bool { return got == want }

// effort takes about half a microsecond, as parsing a short line does.
func effort(n uint64) uint64 {
	for range 300 {
		n ^= n << 13
		n ^= n >> 7
		n ^= n << 17
	}
	return n
}

// mix has a sum depend on the order of what is added.
func mix(sum, n uint64) uint64 { return sum*31 + n }

func effortSum(add func(sum, n uint64) uint64) (sum uint64) {
	for n := range uint64(events) {
		sum = add(sum, effort(n+1))
	}
	return sum
}

func plus(sum, n uint64) uint64 { return sum + n }

// text is 100,000 words of 5,000 in lines of ten.
func text() (lines []string) {
	var line strings.Builder
	for n := range uint64(events) {
		fmt.Fprintf(&line, "word%d ", effort(n+1)%5000)
		if n%10 == 9 {
			lines = append(lines, line.String())
			line.Reset()
		}
	}
	return lines
}

func count(counts map[string]int, line string) {
	for w := range strings.FieldsSeq(line) {
		counts[w]++
	}
}

func merge(all, counts map[string]int) {
	for w, n := range counts {
		all[w] += n
	}
}
