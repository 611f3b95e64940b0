package cli

import (
	"context"
	"io"
)

// Interruptible returns a reader of in that fails when ctx ends. A read of a terminal or a
// pipe notices neither that nor a Close, so it has a goroutine of its own, which nobody can
// wait for: after an interrupt it is left to the end of the process.
func Interruptible(ctx context.Context, in io.Reader) io.ReadCloser {
	r, w := io.Pipe()
	stop := context.AfterFunc(ctx, func() { _ = w.CloseWithError(ctx.Err()) }) // always nil
	go func() {
		_, err := io.Copy(w, in)
		stop()
		_ = w.CloseWithError(err) // always nil
	}()
	return r
}
