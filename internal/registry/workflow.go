package registry

import (
	"context"
	"errors"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/stream"
)

// UseWorkflows notes that a queue has workflows, so that its workers run the jobs by which these drive
// themselves. It does nothing if that is known.
func (s *Store) UseWorkflows(ctx context.Context, queue string) error {
	if err := job.CheckQueue(queue); err != nil {
		return err
	}
	_, err := s.bucket.Last(ctx, workflowKey(queue))
	if !errors.Is(err, stream.ErrNotFound) {
		return err
	}
	if err := s.Open(ctx); err != nil {
		return err
	}
	_, err = s.bucket.Put(ctx, stream.Write{Key: workflowKey(queue), Value: []byte(`{"used":true}`), On: workflowKey(queue)})
	if errors.Is(err, stream.ErrConflict) {
		return nil
	}
	return err
}
