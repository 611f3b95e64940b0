package bulk

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millhand/millhand/internal/filter"
	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/view"
)

func TestMeant(t *testing.T) {
	for _, c := range []struct {
		kind   Kind
		filter string
		all    bool
		want   string // the filter, or what the error says
	}{
		{Retry, "type:email", false, "type:email state:dead"},
		{Retry, "state:dead type:email", false, "state:dead type:email"},
		{Delete, "", true, "state:dead"},
		{Start, "state:retrying queue:default", false, "state:retrying queue:default"},
		{Start, "state:scheduled,retrying", true, "state:scheduled,retrying"},
		{Cancel, "state:ready type:import", false, "state:ready type:import"},
		{Cancel, "state:running", true, "state:running"},

		{Retry, "", false, "which jobs?"},
		{Retry, "state:dead", false, "which jobs?"},
		{Retry, "type:email", true, "use one"},
		{Delete, "state:ready type:email", false, "ready cannot be meant, only dead"},
		{Start, "type:email", false, "in which state? add state: with one or more of scheduled, retrying"},
		{Start, "state:ready type:email", false, "ready cannot be meant"},
		{Cancel, "", true, "in which state?"},
		{Cancel, "-state:dead type:email", false, "succeeded, cancelled cannot be meant"},
		{Cancel, "state:running 42", false, "a word by itself"},
	} {
		f, err := filter.Parse(c.filter)
		if err != nil {
			t.Fatal(err)
		}
		got, err := c.kind.Meant(f, c.all)
		text := got.String()
		if err != nil {
			text = err.Error()
		}
		if text != c.want && (err == nil || !strings.Contains(text, c.want)) {
			t.Errorf("%s %q, all %v: %s, want %s", c.kind, c.filter, c.all, text, c.want)
		}
	}
}

func TestNextRate(t *testing.T) {
	for _, c := range []struct {
		current, wanted float64
		p99             time.Duration
		want            float64
	}{
		{200, 200, 0, 200},
		{200, 200, 51 * time.Millisecond, 140},
		{100, 200, slowWrite, 125},
		{190, 200, time.Millisecond, 200},
		{6, 200, time.Second, slowest},
		{2, 2, time.Second, 2}, // whoever wants less than the slowest gets that
	} {
		if got := nextRate(c.current, c.wanted, c.p99); got != c.want {
			t.Errorf("nextRate(%v, %v, %v) = %v, want %v", c.current, c.wanted, c.p99, got, c.want)
		}
	}
	of := make([]time.Duration, 200)
	of[0], of[1] = 2*time.Second, time.Second
	if got := p99(of); got != 0 {
		t.Errorf("p99 with one in a hundred slow: %v", got)
	}
	of[2] = time.Second
	if got := p99(of); got != time.Second {
		t.Errorf("p99 with more slow ones: %v", got)
	}
}

// A shelf lists jobs as a view does, a few a page whatever is asked for.
type shelf struct {
	jobs []view.Job
	most int
}

func (s *shelf) List(_ context.Context, q view.Query) (*view.Page, error) {
	at := 0
	if q.Cursor != "" {
		if _, err := fmt.Sscanf(q.Cursor, "c%d", &at); err != nil {
			return nil, view.ErrCursor
		}
	}
	end := min(at+min(q.N, s.most), len(s.jobs))
	page := &view.Page{Jobs: s.jobs[at:end]}
	if end < len(s.jobs) {
		page.Cursor = fmt.Sprintf("c%d", end)
	}
	return page, nil
}

func shelfOf(n, most int) *shelf {
	s := &shelf{most: most}
	for i := range n {
		s.jobs = append(s.jobs, view.Job{Queue: "default", Type: "echo", ID: strconv.Itoa(i), State: job.Dead, Since: time.Unix(int64(i), 0)})
	}
	return s
}

// A clerk notes what it was asked to do, and does what it is told.
type clerk struct {
	do func(ctx context.Context, j *view.Job) error

	mu  sync.Mutex
	ids []string
}

func (c *clerk) Act(ctx context.Context, j *view.Job) (string, error) {
	c.mu.Lock()
	c.ids = append(c.ids, j.ID)
	c.mu.Unlock()
	if c.do == nil {
		return Retried, nil
	}
	return Retried, c.do(ctx, j)
}

func operation() Operation {
	f, _ := filter.Parse("state:dead type:echo") // a constant
	return Operation{Filter: f, Before: time.Now()}
}

// Jobs are acted on at the pace that is wanted, and slower while writes are slow.
func TestPace(t *testing.T) {
	took := func(write time.Duration) (all time.Duration) {
		synctest.Test(t, func(t *testing.T) {
			pace := NewPace(200)
			began := time.Now()
			a := &clerk{do: func(context.Context, *view.Job) error {
				time.Sleep(write)
				pace.Wrote(write)
				return nil
			}}
			r, err := Run(t.Context(), shelfOf(1000, 70), operation(), a, pace, nil)
			if err != nil || r.Done != 1000 || r.Cursor != "" {
				t.Fatalf("run: %+v, %v", r, err)
			}
			all = time.Since(began)
		})
		return all
	}
	fast, slow := took(time.Millisecond), took(200*time.Millisecond)
	if fast < 4900*time.Millisecond || fast > 5200*time.Millisecond {
		t.Errorf("1,000 at 200 a second took %v", fast)
	}
	if slow < 4*fast {
		t.Errorf("with slow writes it took %v, without %v", slow, fast)
	}
}

// What is stopped finishes what is in flight, and its cursor goes on so that none is left out.
func TestStopAndResume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		jobs := shelfOf(300, 50)
		ctx, cancel := context.WithCancel(t.Context())
		a := &clerk{}
		a.do = func(ctx context.Context, j *view.Job) error {
			if j.ID == "120" {
				cancel()
			}
			time.Sleep(100 * time.Millisecond)
			return ctx.Err()
		}
		op := operation()
		r, err := Run(ctx, jobs, op, a, NewPace(100), nil)
		if !errors.Is(err, context.Canceled) || r.Done != len(a.ids) || r.Failed > 0 || r.Done >= 150 || !strings.HasSuffix(r.Cursor, ".c100") {
			t.Fatalf("stopped: %+v after %d, %v", r, len(a.ids), err)
		}
		op.Cursor = r.Cursor
		r, err = Run(t.Context(), jobs, op, a, NewPace(100), nil)
		if err != nil || r.Done != 200 || r.Cursor != "" {
			t.Fatalf("resumed: %+v, %v", r, err)
		}
		slices.Sort(a.ids)
		if got := len(slices.Compact(a.ids)); got != 300 {
			t.Errorf("%d of 300 were acted on", got)
		}
		op.Cursor = "nonsense"
		if _, err := Run(t.Context(), jobs, op, a, NewPace(100), nil); !errors.Is(err, view.ErrCursor) {
			t.Errorf("a cursor that is none: %v", err)
		}
	})
}

func TestLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		jobs, a, op := shelfOf(300, 50), &clerk{}, operation()
		op.Limit = 70
		var told Report
		r, err := Run(t.Context(), jobs, op, a, NewPace(MaxRate), func(r Report) { told = r })
		if err != nil || r.Done != 70 || told.Done != 70 || !strings.HasSuffix(r.Cursor, ".c70") {
			t.Errorf("limited: %+v, told %+v, %v", r, told, err)
		}
		look, err := Look(t.Context(), jobs, operation())
		if err != nil || look.Matched != 300 || len(look.Sample) != samples || !slices.Equal(look.Types, []string{"echo"}) ||
			look.From.Unix() != 0 || look.Until.Unix() != 299 {
			t.Errorf("look: %+v, %v", look, err)
		}
	})
}

// Where everything fails it does not go on; what is refused does not count for that.
func TestHopeless(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("disk full")
		a := &clerk{do: func(_ context.Context, j *view.Job) error {
			if len(j.ID) < 3 {
				return &RefusedError{Gone}
			}
			return broken
		}}
		r, err := Run(t.Context(), shelfOf(1000, 500), operation(), a, NewPace(200), nil)
		if !errors.Is(err, broken) || r.Refused[Gone] != 100 || r.Failed < failuresInARow || r.Failed > failuresInARow+10 || len(r.Errors) != maxErrors || r.Cursor == "" {
			t.Errorf("%+v, %v", r, err)
		}
	})
}
