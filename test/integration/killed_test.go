package integration

import (
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/millhand/millhand"
)

// A workflow is run by two workers, which are killed ten times together with their broker, each time while another job of
// it runs. It ends as if nothing had happened: each step once, in its order, with what it returned.
func TestWorkflowWhoseEveryProcessIsKilled(t *testing.T) {
	t.Parallel()
	const kills = 10
	b, s := startBroker(t), newSite(t)
	work := func() []*process {
		args := []string{"-s", b.URL, "-f", s.config, "--ack-wait", "1s", "--stats", "off"}
		return []*process{launchWorker(t, args...), launchWorker(t, args...)}
	}
	workers := work()
	c := newClient(t, b.URL)
	w, last := longWorkflow()
	ref, err := c.Start(t.Context(), w)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan millhand.Info, 1)
	go func() {
		info, _ := c.Await(t.Context(), ref) // the info says how it ended
		ended <- info
	}()
	runs := make(map[string][]time.Time)
	var order []string
	var info millhand.Info
	for over, hit := false, make(map[string]bool); !over; {
		select {
		case info = <-ended:
			over = true
		case v := <-s.visits:
			runs[v.id] = append(runs[v.id], time.Now())
			if hit[v.id] || len(hit) == kills {
				order = append(order, v.payload)
				v.succeed(v.payload)
				continue
			}
			hit[v.id] = true
			for _, w := range workers {
				w.kill(t)
			}
			b.kill(t)
			b.start(t)
			workers = work()
		}
	}
	if info.State != millhand.Succeeded {
		t.Errorf("it is %s: %s", info.State, info.LastError())
	}
	if len(order) == 0 || !slices.IsSorted(order) || order[len(order)-1] != strconv.Itoa(last) {
		t.Errorf("the steps ran as %v", order)
	}
	if got, err := c.Get(t.Context(), millhand.Ref{ID: "long--behind", Type: "visit"}); err != nil || string(got.Output()) != strconv.Itoa(last) {
		t.Errorf("the last step returned %s: %v", got.Output(), err)
	}
	newJudge(t, b.URL).judge(runs)
}

// longWorkflow has steps of most kinds, one behind the other. The payloads of its jobs are numbers in that order, up to last.
func longWorkflow() (w *millhand.Workflow, last int) {
	last = 9 // so that all have two digits
	next := func() millhand.Raw {
		last++
		return millhand.Raw{Name: "visit", Payload: []byte(strconv.Itoa(last))}
	}
	w = millhand.NewWorkflow("long", millhand.WorkflowConfig{ID: "long"})
	at := w.Step("first", next())
	at = w.Step("second", next(), millhand.After(at))
	row := next()
	at = w.Group("group", slices.Values([]millhand.Args{row, row, row}), millhand.After(at), millhand.KeepResults())
	inner := millhand.NewWorkflow("inner", millhand.WorkflowConfig{})
	a := inner.Step("a", next())
	inner.Step("b", next(), millhand.After(a))
	at = w.Workflow("inner", inner, millhand.After(at))
	at = w.Sleep("pause", 100*time.Millisecond, millhand.After(at))
	at = w.Step("third", next(), millhand.After(at))
	at = w.Step("fourth", next(), millhand.After(at))
	at = w.Step("fifth", next(), millhand.After(at))
	w.Step("behind", next(), millhand.After(at))
	return w, last
}
