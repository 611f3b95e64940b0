package pipeline

import (
	"context"
	"errors"
	"testing"
)

// However it is asked, the context of a call ends with the run, with the lives of all of its messages, and with the
// call; and it says why.
func TestCallContext(t *testing.T) {
	errRun, errLost := errors.New("the run ends"), errors.New("lost")
	type scene struct {
		*callContext
		endRun context.CancelCauseFunc
		lose   [2]context.CancelCauseFunc
	}
	none := error(nil)
	for name, c := range map[string]struct {
		do   func(s *scene)
		want error // of Err
		why  error // its cause
	}{
		"nothing":               {func(*scene) {}, none, none},
		"the run ends":          {func(s *scene) { s.endRun(errRun) }, context.Canceled, errRun},
		"one of two is lost":    {func(s *scene) { s.lose[0](errLost) }, none, none},
		"both are lost":         {func(s *scene) { s.lose[0](nil); s.lose[1](errLost) }, context.Canceled, errLost},
		"it returns":            {func(s *scene) { s.end() }, context.Canceled, context.Canceled},
		"it returns, then lost": {func(s *scene) { s.end(); s.lose[0](nil); s.lose[1](errLost) }, context.Canceled, context.Canceled},
	} {
		for asked, ask := range map[string]func(context.Context) context.Context{
			"only then": func(ctx context.Context) context.Context { return ctx },
			"before": func(ctx context.Context) context.Context {
				if ctx.Done() == nil || ctx.Err() != nil || context.Cause(ctx) != nil {
					t.Error("it has ended before it began")
				}
				return ctx
			},
			"by a child": func(ctx context.Context) context.Context {
				child, cancel := context.WithCancel(ctx)
				t.Cleanup(cancel)
				return child
			},
		} {
			t.Run(name+", asked "+asked, func(t *testing.T) {
				s := &scene{callContext: &callContext{lives: make([]context.Context, 2)}}
				s.Context, s.endRun = context.WithCancelCause(t.Context())
				for i := range s.lives {
					s.lives[i], s.lose[i] = context.WithCancelCause(t.Context()) //nolint:fatcontext // one beside the other
				}
				ctx := ask(s)
				c.do(s)
				if c.want != nil {
					<-ctx.Done()
				}
				if err := ctx.Err(); !errors.Is(err, c.want) {
					t.Errorf("it ended with %v, want %v", err, c.want)
				}
				if why := context.Cause(ctx); !errors.Is(why, c.why) {
					t.Errorf("it ended because of %v, want %v", why, c.why)
				}
			})
		}
	}
}
