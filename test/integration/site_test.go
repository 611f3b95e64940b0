package integration

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
)

// A site is what jobs of type visit call: each run is a [visit] that the test answers, so
// it sees when a job starts, on whichever worker, and when its worker gives it up.
type site struct {
	visits chan *visit
	config string // a worker's --config: visit is its one type
}

// A visit is a run of a job.
type visit struct {
	id      string
	attempt string
	payload string
	gone    <-chan struct{} // closed when the caller has gone away: its handler was cancelled, or it died
	answer  chan<- answer   // ends the run
}

type answer struct {
	status int
	body   string
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{visits: make(chan *visit, 1000)}
	over := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		payload, err := io.ReadAll(r.Body)
		if err != nil {
			return // its worker died early
		}
		answers := make(chan answer, 1)
		s.visits <- &visit{
			id: r.Header.Get("Millhand-Id"), attempt: r.Header.Get("Millhand-Attempt"), payload: string(payload),
			gone: r.Context().Done(), answer: answers,
		}
		select {
		case a := <-answers:
			w.WriteHeader(a.status)
			_, _ = io.WriteString(w, a.body) // its worker may be dead
		case <-r.Context().Done():
		case <-over:
		}
	}))
	t.Cleanup(srv.Close)
	t.Cleanup(func() { close(over) })
	s.config = writeFile(t, "site.yaml", fmt.Sprintf("types:\n  visit:\n    http: {url: %q}\n", srv.URL))
	return s
}

// next waits for the next run of a job.
func (s *site) next(t *testing.T) *visit {
	t.Helper()
	return receive(t, "a job starts", s.visits)
}

// echo answers every run with its payload, until the test ends.
func (s *site) echo(t *testing.T) {
	t.Helper()
	var wg sync.WaitGroup
	over := make(chan struct{})
	wg.Go(func() {
		for {
			select {
			case v := <-s.visits:
				v.succeed(v.payload)
			case <-over:
				return
			}
		}
	})
	t.Cleanup(func() { close(over); wg.Wait() })
}

// quiet wants no run to have begun that the test does not know.
func (s *site) quiet(t *testing.T) {
	t.Helper()
	select {
	case v := <-s.visits:
		t.Errorf("job %s runs once more", v.id)
	default:
	}
}

// succeed ends the run well.
func (v *visit) succeed(result string) { v.answer <- answer{status: http.StatusOK, body: result} }
