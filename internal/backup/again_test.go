package backup_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/backup"
)

// refused wants an id to be kept taken, though its job has ended.
func (m *mill) refused(typ, id string) {
	m.t.Helper()
	_, err := m.client.Enqueue(m.t.Context(), millhand.Raw{Name: typ, Payload: []byte(`{}`)}, millhand.WithID(id), millhand.WithUniqueFor(time.Hour))
	if d, ok := errors.AsType[*millhand.DuplicateError](err); !ok || d.Until.IsZero() {
		m.t.Errorf("a second %s/%s: %v, want a duplicate of one that has ended", typ, id, err)
	}
}

// What had ended as the events of a backup say does not run again, however often that is restored: also what was still
// in its queue when that was read, and whose end has another part: an id that stays taken.
func TestWhatHadEndedStaysSo(t *testing.T) {
	inScene(t, func(m *mill) {
		stop := m.hire(m.server.Connect(m.t))
		var refs []millhand.Ref
		for i := range 14 {
			opts := []millhand.EnqueueOption{millhand.WithDelay(time.Duration(i) * 200 * time.Millisecond)}
			if i%2 == 0 {
				opts = append(opts, millhand.WithUniqueFor(time.Hour))
			}
			refs = append(refs, m.enqueue("slow", fmt.Sprintf("s-%d", i), opts...))
		}
		time.Sleep(3 * time.Second)
		link := m.afar(100 * time.Millisecond) // jobs end between the snapshots of two streams
		file, _ := m.take(backup.Options{})
		link.Slow(0)
		time.Sleep(20 * time.Second)
		stop()
		for round := range 2 {
			time.Sleep(11 * time.Second)
			ran := m.ended()
			r := m.restore(file, backup.RestoreOptions{})
			ended := m.ends()
			if r.Dropped == 0 {
				m.t.Error("no job ended while the backup was taken")
			}
			stop := m.hire(m.server.Connect(m.t))
			m.resume(r.Paused...)
			time.Sleep(45 * time.Second)
			now := m.ended()
			for i, ref := range refs {
				name := ref.Type + "/" + ref.ID
				if extra := now[name] - ran[name]; ended[fmt.Sprintf("%s %s", name, ref.Life)] > 0 && extra > 0 {
					m.t.Errorf("round %d: %s had ended, and ran %d times", round, name, extra)
				}
				if i%2 == 0 {
					m.refused(ref.Type, ref.ID)
				}
			}
			m.checkEnded(refs)
			stop()
		}
	})
}

// A queue by itself that is replaced from an old backup: what ended since does not run again, though its id has to stay
// taken or was used again; and ids of jobs that came and ended since are kept.
func TestAnOldQueueKeepsIDs(t *testing.T) {
	inScene(t, func(m *mill) {
		if err := m.config.Registry.PauseFor(m.t.Context(), "default", "not yet", 0); err != nil {
			m.t.Fatal(err)
		}
		stop := m.hire(m.server.Connect(m.t))
		for i := range 5 {
			m.enqueue("quick", fmt.Sprintf("kept-%d", i), millhand.WithUniqueFor(time.Hour))
			m.enqueue("quick", fmt.Sprintf("used-%d", i))
			m.enqueue("doomed", fmt.Sprintf("dead-%d", i), millhand.WithMaxAttempts(1))
		}
		file, _ := m.take(backup.Options{})
		m.resume("default")
		time.Sleep(10 * time.Second)
		for i := range 5 {
			m.enqueue("quick", fmt.Sprintf("used-%d", i))
			m.enqueue("quick", fmt.Sprintf("newer-%d", i), millhand.WithUniqueFor(time.Hour))
		}
		time.Sleep(10 * time.Second)
		if n, err := m.client.PurgeDead(m.t.Context(), millhand.DeadFilter{Queue: "default", Type: "doomed", ID: "dead-0"}); err != nil || n != 1 {
			m.t.Fatalf("removed %d dead jobs, %v", n, err)
		}
		time.Sleep(5 * time.Minute)
		ran := m.ended()
		stop()
		time.Sleep(11 * time.Second)
		r := m.restore(file, backup.RestoreOptions{Resume: true}, "default")
		if r.Dropped != 15 {
			m.t.Errorf("%d jobs had ended, want 15", r.Dropped)
		}
		m.hire(m.server.Connect(m.t))
		time.Sleep(time.Minute)
		for job, n := range m.ended() {
			if n != ran[job] {
				m.t.Errorf("%s ran %d times, and %d times before", job, n, ran[job])
			}
		}
		for i := range 5 {
			m.refused("quick", fmt.Sprintf("kept-%d", i))
			m.refused("quick", fmt.Sprintf("newer-%d", i))
		}
		if info, err := m.config.Client.Info(m.t.Context(), m.config.Store.DeadIn("").Stream); err != nil || info.State.Msgs != 4 {
			m.t.Errorf("%d dead jobs, want the 4 that were kept; %v", info.State.Msgs, err)
		}
	})
}

// However often one backup is restored, no sequence is given out that was given out since.
func TestSequencesOfManyRestores(t *testing.T) {
	inScene(t, func(m *mill) {
		m.enqueue("quick", "first", millhand.WithDelay(time.Hour))
		file, _ := m.take(backup.Options{NoStatistics: true})
		last := uint64(0)
		for round := range 6 {
			m.enqueue("quick", fmt.Sprintf("round-%d", round), millhand.WithDelay(time.Hour))
			info, err := m.config.Client.Info(m.t.Context(), "millhand-queue-default")
			if err != nil {
				m.t.Fatal(err)
			}
			if info.State.LastSeq <= last {
				m.t.Errorf("after %d restores a job has sequence %d, and one before had %d", round, info.State.LastSeq, last)
			}
			last = info.State.LastSeq
			m.restore(file, backup.RestoreOptions{Resume: true})
		}
	})
}
