package timespan_test

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/millhand/millhand/internal/timespan"
)

func TestParse(t *testing.T) {
	t.Parallel()
	const none = " is no duration, such as 90s, 10m or 1h30m"
	for _, tt := range []struct {
		text string
		want time.Duration
		err  string
	}{
		{"90s", 90 * time.Second, ""},
		{"1h30m", 90 * time.Minute, ""},
		{"-1.5h", -90 * time.Minute, ""},
		{".5s", time.Second / 2, ""},
		{"0", 0, ""},
		{"2562047h", 2562047 * time.Hour, ""},
		{"2562048h", 0, `"2562048h" is too long: at most 2562047h`},
		{"99999999h", 0, `"99999999h" is too long: at most 2562047h`},
		{"99999999999999999999999ns", 0, `"99999999999999999999999ns" is too long: at most 2562047h`},
		{"2562047h48m", 0, `"2562047h48m" is too long: at most 2562047h`},
		{"", 0, `""` + none},
		{"7d", 0, `"7d"` + none},
		{"10", 0, `"10"` + none},
		{"99999999999999999999", 0, `"99999999999999999999"` + none},
		{"1h 30m", 0, `"1h 30m"` + none},
		{"soon", 0, `"soon"` + none},
	} {
		got, err := timespan.Parse(tt.text)
		if got != tt.want || (err == nil) != (tt.err == "") || err != nil && err.Error() != tt.err {
			t.Errorf("%q: %v, %v; want %v, %s", tt.text, got, err, tt.want, tt.err)
		}
		if want := tt.err != "" && timespan.Is(tt.text); errors.Is(err, timespan.ErrTooLong) != want {
			t.Errorf("%q: %v is too long: want %t", tt.text, err, want)
		}
	}
}

// What is a duration to Go has its form, and nothing else is read.
func TestTheFormIsGos(t *testing.T) {
	t.Parallel()
	parts := []string{"-", "+", ".", "0", "1", "9999999999", "h", "m", "s", "ms", "µs", "μs", "us", "ns", "d", " ", "e"}
	random := rand.New(rand.NewPCG(1, 2))
	for range 100_000 {
		var b strings.Builder
		for range random.IntN(6) {
			b.WriteString(parts[random.IntN(len(parts))])
		}
		text := b.String()
		_, err := time.ParseDuration(text)
		if err == nil && !timespan.Is(text) {
			t.Fatalf("%q is a duration, and not in the form of one", text)
		}
		if _, mine := timespan.Parse(text); (mine == nil) != (err == nil) {
			t.Fatalf("%q: %v, and to Go %v", text, mine, err)
		}
	}
}
