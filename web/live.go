package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

const (
	liveEvery = 2 * time.Second
	liveSlow  = 5 * time.Second        // where a look takes long
	slowLook  = 500 * time.Millisecond // from which on it does
	keepAlive = 15 * time.Second       // a comment, for proxies not to think that it has ended
	liveLife  = 30 * time.Minute       // after which a browser connects anew: who asks is found out again
	maxLive   = 100                    // streams at once; pages of others say to refresh
	writeSlow = 30 * time.Second       // for one update
)

// stream keeps a page up to date: it sends the parts that have changed as events, until the page is left.
func (h *Handler) stream(ctx context.Context, v *visit, r *route) error {
	return h.follow(ctx, v, func(ctx context.Context, s *sender) (bool, error) { return s.update(ctx, r) })
}

// follow sends events every two seconds for as long as somebody is there, or until there is nothing more to be sent.
// All who follow look at the same snapshots.
func (h *Handler) follow(ctx context.Context, v *visit, update func(context.Context, *sender) (ended bool, err error)) error {
	if n := h.data.viewers.Add(1); n > maxLive {
		h.data.viewers.Add(-1)
		return &problem{status: http.StatusServiceUnavailable, title: "Too many look at once", text: "This page is not live.", hint: "Reload it to see what is new."}
	}
	defer h.data.viewers.Add(-1)
	ctx, cancel := context.WithTimeout(ctx, liveLife)
	defer cancel()
	head := v.w.Header()
	head.Set("Content-Type", "text/event-stream")
	head.Set("X-Accel-Buffering", "no")
	out, end := v.compressed(v.w)
	defer end()
	s := &sender{visit: v, out: out, control: http.NewResponseController(v.w), sent: make(map[string]uint64)}
	for {
		began := time.Now()
		s.now = began
		ended, err := update(ctx, s)
		if err != nil || ended {
			return nil // the browser went away, which is no error of the page's
		}
		pause := liveEvery
		if time.Since(began) > slowLook {
			pause = liveSlow
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
}

// A sender sends what has changed of one page, or to one program.
type sender struct {
	*visit
	out     writeFlusher
	control *http.ResponseController
	sent    map[string]uint64 // parts, as the browser has them
	at      time.Time         // of the last snapshot that a program was sent
	wrote   time.Time
}

// update draws the page anew, and sends what differs. It reports whether nothing will change any more.
func (s *sender) update(ctx context.Context, r *route) (ended bool, err error) {
	if !s.isStill(ctx, r.may) {
		return true, nil // who asks is known no more: the browser connects anew, and is told so
	}
	p, err := r.page(ctx, s.visit)
	var drawn []part
	switch {
	case ctx.Err() != nil:
		return true, nil //nolint:nilerr // nobody is there to be told
	case err != nil:
		return s.gone(err)
	default:
		if _, drawn, err = s.draw(p); err != nil {
			return false, err
		}
	}
	var b strings.Builder
	for i := range drawn {
		if d := &drawn[i]; s.sent[d.id] != d.sum {
			s.sent[d.id] = d.sum
			d.asUpdate(&b)
		}
	}
	switch {
	case b.Len() > 0:
		err = s.event("", b.String())
	case time.Since(s.wrote) >= keepAlive:
		err = s.write(": still here\n\n")
	}
	if err == nil && p.ended {
		return true, s.event("millhand:ended", "")
	}
	return false, err
}

// isStill reports whether whoever looks is still known, and may.
func (s *sender) isStill(ctx context.Context, p Permission) bool {
	return s.authenticate(ctx) == nil && s.h.may(s.user, p)
}

// gone says that the page cannot be drawn at the moment.
func (s *sender) gone(err error) (bool, error) {
	p, ok := errors.AsType[*problem](err)
	if !ok {
		p = s.problemOf(err)
	}
	s.sent = make(map[string]uint64) // all of it, once it can be
	var b strings.Builder
	banner := part{id: "banner"}
	var parts []part
	d := &drawing{visit: s.visit, parts: &parts}
	html, drawErr := d.Part("banner", "banner", p)
	if drawErr != nil || html == "" {
		return false, drawErr
	}
	banner = parts[0]
	banner.asUpdate(&b)
	return p.status == http.StatusNotFound, s.event("", b.String())
}

// event sends one event.
func (s *sender) event(name, data string) error {
	var b strings.Builder
	if name != "" {
		fmt.Fprintf(&b, "event: %s\n", name)
	}
	data = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(data) // each of these ends a line, and what follows is a field
	for line := range strings.Lines(data) {
		b.WriteString("data: ")
		b.WriteString(strings.TrimRight(line, "\n"))
		b.WriteByte('\n')
	}
	if data == "" {
		b.WriteString("data:\n")
	}
	b.WriteByte('\n')
	return s.write(b.String())
}

func (s *sender) write(text string) error {
	s.wrote = time.Now()
	_ = s.control.SetWriteDeadline(s.wrote.Add(writeSlow)) // where there is none it cannot be moved
	_ = s.control.SetReadDeadline(time.Time{})             // likewise
	if _, err := s.out.Write([]byte(text)); err != nil {
		return err
	}
	if err := s.out.Flush(); err != nil {
		return err
	}
	return s.control.Flush()
}
