package millhand

import "context"

// Release frees an id that [WithUniqueFor] keeps taken after its job has ended, so that another job
// may have it at once. A ref without a life is whichever life has left it so. It returns
// [ErrNotFound] if the id is not kept: it is free, or its job is still alive.
func (c *Client) Release(ctx context.Context, ref Ref) error {
	ref, place, err := ref.checked()
	if err != nil {
		return err
	}
	return publicError(c.store.Release(ctx, place, ref.Life))
}
