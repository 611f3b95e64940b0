package web

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// A visit is one request, and who makes it.
type visit struct {
	h    *Handler
	w    http.ResponseWriter
	r    *http.Request
	user User

	zone   *time.Location
	now    time.Time // by the broker's clock where a snapshot was taken, for what is relative to it
	set    settings
	looked *look // nil: no look was taken
}

// settings are what a browser keeps for its user, in cookies.
type settings struct {
	Theme   string // light, dark or auto
	Zone    string // "local", "UTC" or a name
	Density string // "comfortable" or "compact"
}

func (h *Handler) newVisit(w http.ResponseWriter, r *http.Request) *visit {
	v := &visit{h: h, w: w, r: r, now: time.Now(), zone: time.UTC}
	v.readSettings()
	return v
}

// Names of cookies. None of them says who somebody is.
const (
	cookieTheme   = "millhand_theme"
	cookieZone    = "millhand_zone"  // what was chosen
	cookieLocal   = "millhand_local" // the browser's own zone, as it says
	cookieDensity = "millhand_density"
	cookieNotice  = "millhand_notice"
)

func (v *visit) cookie(name string) string {
	c, err := v.r.Cookie(name)
	if err != nil {
		return ""
	}
	return c.Value
}

func (v *visit) readSettings() {
	v.set = settings{Theme: "auto", Zone: "local", Density: "comfortable"}
	switch t := v.cookie(cookieTheme); t {
	case "light", "dark":
		v.set.Theme = t
	}
	if v.cookie(cookieDensity) == "compact" {
		v.set.Density = "compact"
	}
	name := v.cookie(cookieZone)
	if name != "" && name != "local" {
		v.set.Zone = name
	} else {
		name = v.cookie(cookieLocal)
	}
	if decoded, err := url.QueryUnescape(name); err == nil {
		name = decoded
	}
	if v.set.Zone != "local" {
		v.set.Zone = name
	}
	if zone, err := time.LoadLocation(name); err == nil && name != "" && name != "Local" {
		v.zone = zone
	}
}

// setCookie keeps something in the browser; an empty value removes it.
func (v *visit) setCookie(name, value string, keep time.Duration) {
	c := &http.Cookie{
		Name: name, Value: value, Path: v.h.base + "/", MaxAge: int(keep.Seconds()), SameSite: http.SameSiteLaxMode, HttpOnly: name == cookieNotice,
		Secure: v.r.TLS != nil,
	}
	if value == "" {
		c.MaxAge = -1
	}
	http.SetCookie(v.w, c)
}

// A notice is what is said of an operation, on the page that comes after it.
type notice struct {
	Kind string `json:"k"` // ok, warn or error
	Text string `json:"t"`
	to   string // where to go, as a path and query without the base; empty: back

	answer any // of a program; nil: the text
}

// told is a notice for a program.
func (n *notice) told() any {
	switch {
	case n == nil:
		return map[string]string{"text": ""}
	case n.answer != nil:
		return n.answer
	}
	return map[string]string{"text": n.Text}
}

func done(format string, args ...any) *notice {
	return &notice{Kind: "ok", Text: fmt.Sprintf(format, args...)}
}

const maxNotice = 600 // bytes: it travels in a cookie

// redirect sends back to where a form was, with a notice.
func (v *visit) redirect(n *notice) {
	to := v.back()
	if n != nil {
		if n.to != "" {
			to = n.to
		}
		if n.Text != "" {
			n.Text = strings.ToValidUTF8(n.Text[:min(len(n.Text), maxNotice)], "")
			if b, err := json.Marshal(n); err == nil {
				v.setCookie(cookieNotice, base64.RawURLEncoding.EncodeToString(b), time.Minute)
			}
		}
	}
	v.w.Header().Set("Location", v.h.base+to)
	v.w.WriteHeader(http.StatusSeeOther)
}

// back is where the form was, as it says: a path of the dashboard's, without the base.
func (v *visit) back() string {
	back := v.r.PostFormValue("back")
	u, err := url.Parse(back)
	if err != nil || u.IsAbs() || u.Host != "" || !strings.HasPrefix(back, "/") || strings.HasPrefix(back, "//") || strings.ContainsAny(back, "\\\r\n") {
		return "/"
	}
	return back
}

// takeNotice returns the notice that is to be shown, once.
func (v *visit) takeNotice() *notice {
	text := v.cookie(cookieNotice)
	if text == "" {
		return nil
	}
	v.setCookie(cookieNotice, "", 0)
	var n notice
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || json.Unmarshal(b, &n) != nil {
		return nil
	}
	return &n
}

// readFields reads what an operation is to do.
func (v *visit) readFields(ctx context.Context, r *route) error {
	if v.isAPI() {
		return v.readBody(ctx, r)
	}
	return v.readForm()
}

func (v *visit) readForm() error {
	if err := v.r.ParseForm(); err != nil {
		return &problem{status: http.StatusBadRequest, title: "The form could not be read", text: err.Error()}
	}
	return nil
}

// here is the page that is shown, as a path and query without the base.
func (v *visit) here() string {
	path := strings.TrimPrefix(v.r.URL.Path, "/live")
	if v.r.URL.RawQuery == "" {
		return path
	}
	return path + "?" + v.r.URL.RawQuery
}

// A problem is a page that says what went wrong.
type problem struct {
	status      int
	title, text string
	hint        string // what to do; empty: nothing is known
}

// Error implements error.
func (p *problem) Error() string { return p.title + ": " + p.text }

func (v *visit) forbidden(p Permission) error {
	text := fmt.Sprintf("This needs the permission %q; you are %s, %s.", p, v.user.Name, v.user.Role)
	if v.h.opts.ReadOnly && !p.reads() {
		text = "This dashboard is read-only."
	}
	return &problem{status: http.StatusForbidden, title: "You may not do this", text: text, hint: "Ask who runs this dashboard."}
}

// fail shows an error.
func (v *visit) fail(err error) {
	if to, ok := isMoved(err); ok {
		v.move(to)
		return
	}
	if challenge, ok := errors.AsType[*ChallengeError](err); ok {
		v.w.Header().Set("WWW-Authenticate", challenge.Challenge)
		if v.isAPI() {
			v.failJSON(&problem{status: http.StatusUnauthorized, title: "Who are you?", text: challenge.Error() + "."})
			return
		}
		http.Error(v.w, challenge.Error(), http.StatusUnauthorized)
		return
	}
	p, ok := errors.AsType[*problem](err)
	if !ok {
		p = v.problemOf(err)
	}
	if v.isAPI() {
		v.failJSON(p)
		return
	}
	if p.status >= http.StatusInternalServerError {
		v.h.log.WarnContext(v.r.Context(), "a page could not be shown", slog.String("path", v.r.URL.Path), slog.Any("err", err))
	}
	if shown := v.show(&page{title: p.title, template: "problem", data: p}, p.status); shown != nil {
		http.Error(v.w, p.Error(), p.status)
	}
}

// Status, Title, Text and Hint are for the template.
func (p *problem) Status() int   { return p.status }
func (p *problem) Title() string { return p.title }
func (p *problem) Text() string  { return p.text }
func (p *problem) Hint() string  { return p.hint }

func (v *visit) isLive() bool { return strings.HasPrefix(v.r.URL.Path, "/live/") }
