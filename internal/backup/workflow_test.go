package backup_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/backup"
)

// Workflows that are backed up while they run go on from where they were, at whatever step that is. What had
// ended since the backup runs once more at most.
func TestWorkflowsGoOnAfterARestore(t *testing.T) {
	inScene(t, func(m *mill) {
		stop := m.hire(m.server.Connect(m.t))
		var refs []millhand.Ref
		for i := range 12 {
			w := millhand.NewWorkflow("chain", millhand.WorkflowConfig{ID: fmt.Sprint("w", i)})
			var last *millhand.Step
			for n, typ := range []string{"quick", "again", "slow", "quick"} {
				var after []millhand.StepOption
				if n > 0 {
					after = append(after, millhand.After(last))
				}
				last = w.Step(fmt.Sprint("s", n), millhand.Raw{Name: typ, Payload: []byte(`{}`)}, after...)
			}
			ref, err := m.client.Start(m.t.Context(), w)
			if err != nil {
				m.t.Fatal(err)
			}
			refs = append(refs, ref)
			time.Sleep(300 * time.Millisecond)
		}
		link := m.afar(100 * time.Millisecond) // steps end between the snapshots of two streams
		file, _ := m.take(backup.Options{})
		link.Slow(0)
		stop()
		m.lose()
		time.Sleep(11 * time.Second)
		r := m.restore(file, backup.RestoreOptions{})
		m.hire(m.server.Connect(m.t))
		m.resume(r.Paused...)
		time.Sleep(5 * time.Minute) // what had ended already takes a lease until somebody completes it
		for _, ref := range refs {
			info, err := m.client.GetWorkflow(m.t.Context(), ref)
			if err != nil {
				m.t.Errorf("%s: %v", ref.ID, err)
				continue
			}
			for _, s := range info.Steps {
				if s.State != millhand.StepSucceeded {
					m.t.Errorf("%s: step %s is %s", ref.ID, s.Name, s.State)
				}
			}
		}
		m.checkEnded(refs)
	})
}
