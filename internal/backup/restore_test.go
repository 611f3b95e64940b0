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
	"github.com/millhand/millhand/internal/stream"
)

// A queue that is lost by itself comes back from an old backup: what ended since does not run again,
// since the events know, and what was alive goes on.
func TestAnOldQueueBesideNewerEvents(t *testing.T) {
	inScene(t, func(m *mill) {
		if err := m.config.Registry.PauseFor(m.t.Context(), "default", "not yet", 0); err != nil {
			m.t.Fatal(err)
		}
		stop := m.hire(m.server.Connect(m.t))
		var refs []millhand.Ref
		for i := range 10 {
			refs = append(refs, m.enqueue("quick", fmt.Sprintf("q-%d", i)), m.enqueue("doomed", fmt.Sprintf("d-%d", i), millhand.WithMaxAttempts(1)))
			refs = append(refs, m.enqueue("quick", fmt.Sprintf("far-%d", i), millhand.WithDelay(time.Minute)))
		}
		file, _ := m.take(backup.Options{})
		m.resume("default")
		time.Sleep(10 * time.Second)
		ran := m.ended()
		stop()
		m.lose(backup.Queue)
		time.Sleep(11 * time.Second)
		r := m.restore(file, backup.RestoreOptions{Resume: true}, "default")
		if r.Dropped != 20 || len(r.Streams) != 1 {
			m.t.Errorf("%d jobs had ended, want 20; %d streams", r.Dropped, len(r.Streams))
		}
		m.hire(m.server.Connect(m.t))
		time.Sleep(time.Minute)
		now := m.ended()
		for job, n := range ran {
			if now[job] != n {
				m.t.Errorf("%s had ended and ran again", job)
			}
		}
		m.checkEnded(refs)
	})
}

// A worker that is cut off while its namespace is lost and restored finds out that what it has is not
// its own any more: what it does then costs no job its end, and gives none a second.
func TestAWorkerOutlivesARestore(t *testing.T) {
	inScene(t, func(m *mill) {
		link := m.server.Link()
		m.hire(link.Connect(m.t))
		var before []millhand.Ref
		for i := range 4 {
			before = append(before, m.enqueue("slow", fmt.Sprintf("in-hand-%d", i)))
		}
		time.Sleep(time.Second)
		file, manifest := m.take(backup.Options{})
		// These have sequences that come after the backup, and the worker has them when it is cut off.
		for i := range 2 {
			m.enqueue("slow", fmt.Sprintf("after-%d", i))
		}
		time.Sleep(100 * time.Millisecond)
		last, err := m.config.Client.Info(m.t.Context(), "millhand-queue-default")
		if err != nil {
			m.t.Fatal(err)
		}
		link.Hold()
		m.lose()
		time.Sleep(11 * time.Second) // until its presence has expired
		m.restore(file, backup.RestoreOptions{Resume: true})
		// As many new jobs as the old stream had given out: none may have the sequence of one of those.
		var fresh []millhand.Ref
		for i := range 12 {
			fresh = append(fresh, m.enqueue("slow", fmt.Sprintf("new-%d", i)))
		}
		info, err := m.config.Client.Info(m.t.Context(), "millhand-queue-default")
		if err != nil {
			m.t.Fatal(err)
		}
		if first := info.State.LastSeq - 11; first <= last.State.LastSeq {
			m.t.Errorf("a new job has sequence %d, and the lost stream came as far as %d", first, last.State.LastSeq)
		}
		m.hire(m.server.Connect(m.t))
		link.Release()
		time.Sleep(2 * time.Minute)
		m.checkEnded(append(before, fresh...))
		if info, err = m.config.Client.Info(m.t.Context(), "millhand-queue-default"); err != nil || info.State.Msgs != 1 {
			m.t.Errorf("%d messages are left, %v", info.State.Msgs, err)
		}
		for _, s := range manifest.Streams {
			now, err := m.config.Client.Info(m.t.Context(), s.Name)
			if err != nil || now.State.LastSeq <= s.LastSeq+1<<20 {
				m.t.Errorf("%s goes on from %d, and the backup came to %d: %v", s.Name, now.State.LastSeq, s.LastSeq, err)
			}
		}
	})
}

// What is there is seen, and goes; with it what the backup does not have.
func TestAPlanNamesWhatIsThere(t *testing.T) {
	inScene(t, func(m *mill) {
		m.enqueue("quick", "first", millhand.WithDelay(time.Hour))
		file, manifest := m.take(backup.Options{NoStatistics: true})
		m.enqueue("quick", "second", millhand.WithDelay(time.Hour))
		m.enqueue("quick", "third", millhand.WithQueue("low"), millhand.WithDelay(time.Hour))
		stop := m.hire(m.server.Connect(m.t))
		plan, err := m.config.Look(m.t.Context(), manifest, nil)
		if err != nil {
			m.t.Fatal(err)
		}
		if plan.Jobs != 3 || len(plan.Workers) != 1 || len(plan.Existing) < 4 {
			m.t.Errorf("the plan has %d jobs, workers %q and %d streams", plan.Jobs, plan.Workers, len(plan.Existing))
		}
		if _, err := m.config.Look(m.t.Context(), manifest, []string{"low"}); !errors.Is(err, backup.ErrArchive) || !strings.Contains(err.Error(), "no queue low") {
			m.t.Errorf("a queue that is not in it: %v", err)
		}
		stop()
		m.restore(file, backup.RestoreOptions{})
		streams, err := m.config.Streams(m.t.Context())
		if err != nil {
			m.t.Fatal(err)
		}
		if slices.ContainsFunc(streams, func(s *backup.Stream) bool { return s.Queue == "low" }) {
			m.t.Error("a queue that the backup does not have is still there")
		}
		for id, want := range map[string]bool{"first": true, "second": false} {
			_, err := m.config.Client.Last(m.t.Context(), "millhand-queue-default", "millhand.default.later.quick."+id)
			if (err == nil) != want || err != nil && !errors.Is(err, stream.ErrNotFound) {
				m.t.Errorf("%s is there: %v", id, err)
			}
		}
	})
}

// A backup waits for what is in hand as long as it is told to, and leaves nothing paused.
func TestABusyNamespaceIsNotQuiet(t *testing.T) {
	inScene(t, func(m *mill) {
		m.hire(m.server.Connect(m.t))
		for i := range 100 {
			m.enqueue("slow", fmt.Sprintf("s-%d", i))
		}
		time.Sleep(time.Second)
		_, err := backup.Take(m.t.Context(), m.config, backup.Options{Quiesce: true, Patience: 100 * time.Millisecond}, new(strings.Builder))
		if !errors.Is(err, backup.ErrBusy) || !strings.Contains(err.Error(), "of type slow in queue default") {
			m.t.Errorf("took it: %v", err)
		}
		if paused, err := m.config.Registry.Paused(m.t.Context()); err != nil || len(paused) > 0 {
			m.t.Errorf("paused %v, %v", paused, err)
		}
	})
}
