package web

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/millhand/millhand/internal/verify"
)

// setupFor is for how long what was found is good enough: it changes when somebody changes the broker.
const setupFor = 30 * time.Second

// A setup is whether the broker is set up as it has to be, looked at once for all who ask.
type setup struct {
	cfg verify.Config

	mu     sync.Mutex
	at     time.Time
	report *verify.Report
}

func (s *setup) look(ctx context.Context) (*verify.Report, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.report != nil && time.Since(s.at) < setupFor {
		return s.report, nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookWithin)
	defer cancel()
	checks := slices.DeleteFunc(verify.Checks(), func(c verify.Check) bool { return c.Class != verify.Setup })
	r, err := verify.Run(ctx, s.cfg, verify.Options{Checks: checks, Looks: 1})
	if err != nil {
		return nil, err
	}
	s.report, s.at = r, time.Now()
	return r, nil
}

// setupOf is what a user may know of that: all, or nothing. It is nil if they may not, or if it is not known.
func (v *visit) setupOf(ctx context.Context, l *look) *verify.Report {
	if !v.h.may(v.user, MayVerify) || l.Partial {
		return nil
	}
	r, err := v.h.setup.look(ctx)
	if err != nil {
		return nil // the rest of the page is shown
	}
	return r
}

// tellSetup is the same for programs.
func (h *Handler) tellSetup(ctx context.Context, v *visit) (any, error) {
	l, err := v.look(ctx)
	if err != nil {
		return nil, err
	}
	if l.Partial {
		return nil, &problem{status: http.StatusForbidden, title: "This is of all queues", text: "You, " + v.user.Name + ", do not see all of them."}
	}
	return h.setup.look(ctx)
}
