package web

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/millhand/millhand/internal/audit"
)

const (
	maxBody  = 1 << 20
	maxQuery = 4 << 10
)

// setHeaders sets what browsers are to refuse.
func (h *Handler) setHeaders(w http.ResponseWriter) {
	ancestors := "'none'"
	if len(h.opts.FrameAncestors) > 0 {
		ancestors = strings.Join(h.opts.FrameAncestors, " ")
	}
	head := w.Header()
	head.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors "+ancestors)
	head.Set("X-Content-Type-Options", "nosniff")
	head.Set("Referrer-Policy", "same-origin")
	head.Set("Cross-Origin-Opener-Policy", "same-origin")
	head.Set("Cache-Control", "no-store")
}

// reachable returns why a request did not come to where the dashboard is served, nil if it did, before
// anything is read of it. While nobody has to say who they are, that is this machine alone: a page of elsewhere
// whose name is made to lead here (DNS rebinding) has its own name in Host.
func (h *Handler) reachable(r *http.Request) *problem {
	if len(r.URL.RawQuery) > maxQuery {
		return &problem{status: http.StatusRequestURITooLong, title: "This cannot be read", text: "the query is longer than 4 KiB"}
	}
	if h.opts.Auth != nil || h.opts.Unsafe {
		return nil
	}
	if !servedLocally(r) {
		return &problem{
			status: http.StatusForbidden, title: "Not from here", text: "The dashboard is served to this machine only, since nobody has to say who they are.",
			hint: "To reach it from elsewhere, start it with one of\n\n" +
				"    --web-auth basic:FILE      lines of name:role:bcrypt\n" +
				"    --web-auth proxy:HEADER    whom the proxy of --web-proxy ADDRESS names\n" +
				"    --web-unsafe               anybody who reaches it may do everything",
		}
	}
	if via := proxyHeader(r.Header); via != "" && h.opts.Origin == "" {
		return &problem{
			status: http.StatusForbidden, title: "Not by a proxy",
			text: "The request came through a proxy (" + via + "), and nobody has to say who they are: whoever reaches the proxy would be an admin.",
			hint: "Start the dashboard with one of\n\n" +
				"    --web-auth basic:FILE      lines of name:role:bcrypt\n" +
				"    --web-origin URL           where the proxy serves it, if the proxy itself lets nobody in unasked",
		}
	}
	if !h.isOwnHost(r.Host) {
		return &problem{status: http.StatusMisdirectedRequest, title: "Not by this name", text: fmt.Sprintf("%q is no name of this machine's own; behind a proxy, say --web-origin URL", r.Host)}
	}
	return nil
}

// refuse answers a request of which nothing was read: nobody is known, for whom a page could be made.
func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, p *problem) {
	if isAPI(r.URL.Path) {
		h.newVisit(w, r).failJSON(p)
		return
	}
	http.Error(w, strings.TrimSuffix(p.text+"\n"+p.hint, "\n"), p.status)
}

// servedLocally reports whether a request came in over a loopback address. A server that does not say
// over which has to be trusted: it is none that listens.
func servedLocally(r *http.Request) bool {
	addr, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !ok {
		return true
	}
	host, _, err := net.SplitHostPort(addr.String())
	if err != nil {
		return true // of a Unix socket
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// proxyHeader returns a header of a request that only proxies set, or "". A proxy on this machine that
// puts its upstream's name into Host looks like a browser here otherwise.
func proxyHeader(head http.Header) string {
	for _, name := range slices.Sorted(maps.Keys(head)) {
		if name == "Forwarded" || name == "Via" || name == "X-Real-Ip" || strings.HasPrefix(name, "X-Forwarded-") {
			return name
		}
	}
	return ""
}

func (h *Handler) isOwnHost(host string) bool {
	if u, err := url.Parse(h.opts.Origin); err == nil && u.Host != "" && strings.EqualFold(u.Host, host) {
		return true
	}
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = strings.Trim(host, "[]")
	}
	if strings.EqualFold(name, "localhost") {
		return true
	}
	ip := net.ParseIP(name)
	return ip != nil && ip.IsLoopback()
}

// authenticate finds out who asks.
func (v *visit) authenticate(ctx context.Context) error {
	if v.h.opts.Auth == nil {
		v.user = User{Name: "local", Role: roleAdmin}
		return nil
	}
	v.h.warnOfPlainText(ctx, v.r)
	u, err := v.h.opts.Auth(v.r)
	if err != nil {
		return v.unknown(ctx, err)
	}
	v.user = u
	return nil
}

// warnOfPlainText says once that a password or token came over a network that can be read.
func (h *Handler) warnOfPlainText(ctx context.Context, r *http.Request) {
	if r.TLS != nil || r.Header.Get("Authorization") == "" || servedLocally(r) || isFrom(h.proxies, r.RemoteAddr) {
		return
	}
	h.plain.Do(func() {
		h.log.WarnContext(ctx, "passwords or tokens come over plain HTTP from elsewhere, where they can be read on their way; use --web-tls-cert and --web-tls-key, or a proxy with TLS that --web-proxy names",
			slog.String("from", clientOf(r)))
	})
}

// unknown is what is said to one of whom it cannot be told who they are: nothing of files and their lines.
func (v *visit) unknown(ctx context.Context, err error) error {
	_, isChallenge := errors.AsType[*ChallengeError](err)
	_, isProblem := errors.AsType[*problem](err)
	if isChallenge || isProblem {
		return err
	}
	v.h.log.ErrorContext(ctx, "nobody is let in: who asks cannot be told", slog.Any("err", err))
	return &problem{status: http.StatusInternalServerError, title: "Nobody can be let in at the moment", text: "Who you are cannot be told.", hint: "Ask who runs this dashboard: its log says why."}
}

// refuseCrossOrigin answers a request that a page of elsewhere has made.
func (h *Handler) refuseCrossOrigin(w http.ResponseWriter, r *http.Request) {
	h.log.WarnContext(r.Context(), "refused an operation that a page of elsewhere asked for; behind a proxy that changes Host, say --web-origin URL",
		slog.String("path", r.URL.Path), slog.String("origin", r.Header.Get("Origin")), slog.String("host", r.Host))
	h.refuse(w, r, &problem{
		status: http.StatusForbidden, title: "Not by a page of elsewhere", text: "Refused: this came from a page of another origin (" + r.Header.Get("Origin") + ").",
		hint: "Behind a proxy that changes Host, say --web-origin URL.",
	})
}

// auditRefused notes that somebody tried what they may not.
func (h *Handler) auditRefused(ctx context.Context, v *visit, r *route) {
	if r.may.reads() || !h.refusals.allow(v.user.Name) {
		return
	}
	h.log.WarnContext(ctx, "an operation was refused: the role lacks the permission",
		slog.String("by", v.user.Name), slog.String("role", v.user.Role), slog.String("permission", string(r.may)), slog.String("path", v.r.URL.Path))
	h.record(ctx, v, audit.Record{Action: audit.Action(r.may), Ref: v.r.URL.Path, Outcome: "refused", Detail: "the role " + v.user.Role + " may not"})
}

const (
	refusedEvery = time.Minute // that somebody was refused is noted, after the first few times
	refusedBurst = 5
)

// refusals bound what is noted of what people may not do: nobody fills the audit, in which the rest is looked for.
type refusals struct {
	mu sync.Mutex
	by map[string]*rate.Limiter
}

func (f *refusals) allow(name string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.by) >= maxRemembered {
		clear(f.by)
	}
	if f.by == nil {
		f.by = make(map[string]*rate.Limiter)
	}
	if f.by[name] == nil {
		f.by[name] = rate.NewLimiter(rate.Every(refusedEvery), refusedBurst)
	}
	return f.by[name].Allow()
}

// record keeps what somebody did, also when they left before it was done. What cannot be kept is logged.
func (h *Handler) record(ctx context.Context, v *visit, r audit.Record) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), opWithin)
	defer cancel()
	r.By, r.From = v.user.Name, clientOf(v.r)
	if r.Outcome == "" {
		r.Outcome = audit.Done
	}
	h.log.InfoContext(ctx, "operation", slog.String("action", string(r.Action)), slog.String("by", r.By), slog.String("from", r.From),
		slog.String("ref", r.Ref), slog.Int("count", r.Count), slog.String("outcome", r.Outcome))
	if err := h.audit.Write(ctx, r); err != nil {
		h.log.WarnContext(ctx, "an operation is done, and cannot be noted in the audit", slog.String("action", string(r.Action)), slog.Any("err", err))
	}
}
