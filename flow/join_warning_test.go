package flow_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/millhand/millhand/flow"
)

// signal is a writer that tells of the first write.
type signal struct {
	bytes.Buffer
	written func()
}

func (s *signal) Write(b []byte) (int, error) {
	s.written()
	return s.Buffer.Write(b)
}

// A join that may keep events for ever says so, by its name and once; one with a window does not.
func TestJoinWarnsOfWhatItKeeps(t *testing.T) {
	const many = 1_200_000
	key := func(int) int { return 0 }
	at := func(n int) time.Time { return time.UnixMilli(int64(n)) }
	for _, windows := range [][]flow.JoinWindow[int, int]{nil, {{Size: time.Second, LeftAt: at, RightAt: at}}} {
		open := make(chan int)
		out := &signal{written: func() { close(open) }} // the right side ends when the warning has come
		before := slog.Default()
		slog.SetDefault(slog.New(slog.NewTextHandler(out, nil)))
		left := flow.From(upTo(many))
		if windows != nil {
			left = flow.From(upTo(many)).Each(func(n int) {
				if n == many-1 {
					close(open)
				}
			})
		}
		joined := flow.Join(flow.Inner, flow.By(left, key), flow.By(flow.FromChan(open), key), windows...)
		err := joined.Named("orders").Run(t.Context())
		slog.SetDefault(before)
		if err != nil {
			t.Fatal(err)
		}
		if got := out.String(); strings.Count(got, "join=orders") != min(1, 1-len(windows)) {
			t.Errorf("with %d windows the log has %q", len(windows), got)
		}
	}
}
