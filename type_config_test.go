package millhand_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
)

// Quotas that stand beside handlers are those of the type, or of the key that the type then belongs to.
func TestQuotasBesideHandlers(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		mux := millhand.NewMux()
		shared := millhand.Quota{Key: "crm", Limit: 5}
		mux.HandleFunc("push", succeed, millhand.TypeConfig{Quotas: []millhand.Quota{shared}})
		millhand.Handle(mux, func(context.Context, *millhand.Job[email]) error { return nil }, millhand.TypeConfig{
			Quotas: []millhand.Quota{{Limit: 2}, {Limit: 100, Per: time.Minute}, shared},
		})
		start(t, s.Connect(t), millhand.WorkerConfig{Mux: mux, Quotas: []millhand.Quota{{Queue: "default", Limit: 9}}})
		time.Sleep(5 * time.Second)
		usages, err := client(t, s.Connect(t)).Quotas(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var got []millhand.Quota
		for _, u := range usages {
			got = append(got, u.Quota)
		}
		want := []millhand.Quota{
			{Type: "email", Limit: 2},
			{Type: "email", Limit: 100, Per: time.Minute},
			{Queue: "default", Limit: 9},
			{Key: "crm", Types: []string{"email", "push"}, Limit: 5},
		}
		less := func(a, b millhand.Quota) bool { return a.Limit < b.Limit }
		if diff := cmp.Diff(want, got, cmpopts.SortSlices(less)); diff != "" {
			t.Errorf("quotas (-want +got):\n%s", diff)
		}
	})
}
