package integration

import (
	"fmt"
	"syscall"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand"
)

// A limit that a person set, in Go or on the wire, outlives a rolling restart of workers whose
// flags say something else, and is theirs again once it is handed back.
func TestEmergencyLimitSurvivesARollingRestart(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	client := newClient(t, b.URL)
	js, err := jetstream.New(connect(t, b.URL))
	if err != nil {
		t.Fatal(err)
	}
	hire := func(limit int) *process {
		return startWorker(t, b.URL, "--quota", fmt.Sprintf("sleep=%d", limit))
	}
	limit := func() (int, millhand.QuotaSource) {
		t.Helper()
		all, err := client.Quotas(t.Context())
		if err != nil || len(all) > 1 {
			t.Fatalf("quotas %+v, %v", all, err)
		}
		if len(all) == 0 {
			return 0, ""
		}
		return all[0].Limit, all[0].Source
	}
	want := func(jobs int, by millhand.QuotaSource) {
		t.Helper()
		if got, source := limit(); got != jobs || source != by {
			t.Fatalf("the limit is %d by %q, want %d by %q", got, source, jobs, by)
		}
	}
	workers := []*process{hire(10), hire(10)}
	want(10, millhand.SetByConfig)

	for _, set := range []func(jobs int) error{
		func(jobs int) error {
			return client.SetQuota(t.Context(), millhand.Quota{Type: "sleep", Limit: jobs})
		},
		func(jobs int) error { // as another program does, or an older version
			kv, err := js.KeyValue(t.Context(), "millhand-registry")
			if err == nil {
				_, err = kv.Put(t.Context(), "grant.sleep._limit", fmt.Appendf(nil, `{"limit":%d}`, jobs))
			}
			return err
		},
	} {
		if err := set(2); err != nil {
			t.Fatal(err)
		}
		for i, w := range workers {
			w.signal(t, syscall.SIGTERM)
			w.wait(t)
			workers[i] = hire(10)
			want(2, millhand.SetByPerson)
			if n := workers[i].log.count("a configured limit is not applied"); n != 1 {
				t.Errorf("the worker said %d times that its limit is not applied:\n%s", n, workers[i].log)
			}
		}
		if err := client.ResetQuota(t.Context(), millhand.Quota{Type: "sleep"}); err != nil {
			t.Fatal(err)
		}
		until(t, "a running worker has its limit back", func() bool {
			jobs, by := limit()
			return jobs == 10 && by == millhand.SetByConfig
		})
	}

	workers = append(workers, hire(0)) // what a configuration set, a configuration removes
	want(0, "")
	for _, w := range workers {
		w.signal(t, syscall.SIGTERM)
		w.wait(t)
	}
}
