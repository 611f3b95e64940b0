package backup_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/backup"
)

// A namespace under load is backed up, lost and restored: with jobs of all states, a schedule, a limit,
// a pause, an id that is kept, and workers that go on meanwhile.
func TestALostNamespaceIsRestored(t *testing.T) {
	for _, quiesce := range []bool{true, false} {
		t.Run(fmt.Sprintf("quiesce=%t", quiesce), func(t *testing.T) {
			inScene(t, func(m *mill) { loseAndRestore(m.t, m, quiesce) })
		})
	}
}

func loseAndRestore(t *testing.T, m *mill, quiesce bool) {
	t.Helper()
	stops := []func(){m.hire(m.server.Connect(t)), m.hire(m.server.Connect(t))}
	ctx := t.Context()
	if err := m.client.SetQuota(ctx, millhand.Quota{Type: "slow", Limit: 3}); err != nil {
		t.Fatal(err)
	}
	if err := m.client.PutCron(ctx, millhand.Cron{Name: "often", Schedule: "@every 20s", Args: millhand.Raw{Name: "tick", Payload: []byte(`{}`)}}); err != nil {
		t.Fatal(err)
	}
	if err := m.config.Registry.PauseType(ctx, "low", "quick", "the database moves", 0); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * time.Second) // until both workers know, and have asked for nothing of that type
	var before []millhand.Ref
	enqueue := func(typ, id string, opts ...millhand.EnqueueOption) {
		t.Helper()
		before = append(before, m.enqueue(typ, id, opts...))
	}
	for i := range 30 {
		enqueue("quick", fmt.Sprintf("q-%d", i))
		enqueue("again", fmt.Sprintf("a-%d", i), millhand.WithDelay(time.Duration(i)*300*time.Millisecond))
	}
	for i := range 20 {
		enqueue("slow", fmt.Sprintf("s-%d", i))
		enqueue("quick", fmt.Sprintf("far-%d", i), millhand.WithDelay(time.Minute))
		enqueue("doomed", fmt.Sprintf("d-%d", i), millhand.WithMaxAttempts(1+i%3))
	}
	enqueue("quick", "paused", millhand.WithQueue("low"))
	enqueue("quick", "kept", millhand.WithUniqueFor(time.Hour))
	time.Sleep(5 * time.Second)

	ended := m.ended()
	file, manifest := m.take(backup.Options{Quiesce: quiesce, Patience: time.Minute})
	if quiesce { // nothing ended after this
		ended = m.ended()
	}
	taken := time.Now()
	if paused, err := m.config.Registry.Paused(ctx); err != nil || len(paused) > 0 {
		t.Fatalf("paused after the backup: %v, %v", paused, err)
	}
	m.enqueue("quick", "lost") // which nobody can restore
	time.Sleep(10 * time.Second)
	for _, stop := range stops {
		stop()
	}
	m.lose()
	time.Sleep(15 * time.Second)

	r := m.restore(file, backup.RestoreOptions{})
	if got := slices.Sorted(slices.Values(r.Paused)); !slices.Equal(got, []string{"default", "low"}) || !slices.Equal(got, manifest.Queues()) {
		t.Errorf("paused %q", got)
	}
	for _, prefix := range []string{"node.", "order.", "grant.slow."} {
		if keys := m.keysOf(prefix); len(keys) > 0 && !slices.Equal(keys, []string{"grant.slow._limit"}) {
			t.Errorf("the registry has %q", keys)
		}
	}
	again := m.ended()
	m.hire(m.server.Connect(t))
	time.Sleep(10 * time.Second)
	if got := m.ended(); len(got) != len(again) {
		t.Error("jobs run though all queues are paused")
	}
	for _, id := range []string{"far-0", "kept"} {
		_, err := m.client.Enqueue(ctx, millhand.Raw{Name: "quick"}, millhand.WithID(id))
		if !errors.Is(err, millhand.ErrDuplicate) {
			t.Errorf("a second %s: %v", id, err)
		}
	}
	m.resume("default", "low")
	time.Sleep(90 * time.Second)

	now := m.ended()
	for job := range ended {
		if extra := now[job] - again[job]; extra > 0 {
			t.Errorf("%s had ended before the backup, and ran %d times after it", job, extra)
		}
	}
	if now["quick/paused"] > 0 || now["quick/lost"] > 1 {
		t.Errorf("paused ran %d times, lost %d", now["quick/paused"], now["quick/lost"])
	}
	paused, err := m.client.Get(ctx, before[slices.IndexFunc(before, func(r millhand.Ref) bool { return r.ID == "paused" })])
	if err != nil || paused.State != millhand.Ready {
		t.Errorf("the job of a paused type is %v, %v", paused.State, err)
	}
	if err := m.config.Registry.ResumeType(ctx, "low", "quick"); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * time.Second)
	m.checkEnded(before)
	ticks := 0
	for job, n := range m.ended() {
		if strings.HasPrefix(job, "tick/") && n > 1 {
			t.Errorf("%s ran %d times", job, n)
		}
		if strings.HasPrefix(job, "tick/") {
			ticks++
		}
	}
	if least := int(time.Since(taken)/(20*time.Second)) / 2; ticks < least {
		t.Errorf("%d ticks in %v", ticks, time.Since(taken))
	}
	quotas, err := m.client.Quotas(ctx)
	if err != nil || len(quotas) != 1 || quotas[0].Quota.Limit != 3 {
		t.Errorf("quotas %+v, %v", quotas, err)
	}
}
