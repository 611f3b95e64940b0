package slots

import (
	"testing"
	"time"

	"github.com/millhand/millhand/internal/modeltest"
)

func TestElapsedIsTheLargerOfBothClocks(t *testing.T) {
	start := time.Now()
	tests := []struct {
		name string
		now  time.Time
		want time.Duration
	}{
		{"both clocks", start.Add(time.Minute), time.Minute},
		{"machine was suspended", modeltest.Suspended(start.Add(time.Second), time.Hour), time.Hour + time.Second},
		{"wall clock was set back", modeltest.Suspended(start.Add(time.Minute), -time.Hour), time.Minute},
		{"at once", start, 0},
	}
	for _, tt := range tests {
		if got := Elapsed(start, tt.now); got != tt.want {
			t.Errorf("%s: elapsed = %v, want %v", tt.name, got, tt.want)
		}
	}
}
