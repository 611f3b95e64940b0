package browser

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/broker"
	"github.com/millhand/millhand/web"
)

// A number of 64 bits is shown, and copied, digit for digit: no script has read it.
func TestNumbersDigitForDigit(t *testing.T) {
	c := start(t, web.Options{})
	ref := c.enqueue("email", `{"id":1970670598291982290,"big":123456789012345678901234567890}`)
	p := open(t, c.server.URL)
	p.goTo("/jobs/default/email/" + ref.ID)
	copied := value[string](p, `(() => { getSelection().selectAllChildren(document.querySelector("#payload")); return getSelection().toString(); })()`)
	for _, digits := range []string{"1970670598291982290", "123456789012345678901234567890"} {
		if !strings.Contains(copied, digits) {
			t.Errorf("what is copied lacks %s:\n%s", digits, copied)
		}
	}
}

// Of two people who do the same the second is told that somebody was faster, and nothing is done twice.
func TestTwoPeopleAtOnce(t *testing.T) {
	c := start(t, web.Options{})
	ref := c.enqueue("email", `{}`, millhand.WithDelay(time.Hour))
	var tabs [2]*tab
	for i := range tabs {
		tabs[i] = open(t, c.server.URL)
		tabs[i].look(1280, "light")
		tabs[i].goTo("/jobs/default/email/" + ref.ID)
		value[any](tabs[i], `(() => { window.form = document.querySelector(".acts [value=run]").form; return null; })()`) // as it was seen
	}
	value[any](tabs[0], `(() => { window.form.requestSubmit(); return null; })()`)
	tabs[0].sees("1 job started early")
	value[any](tabs[1], `(() => { window.form.elements.job.value = window.form.elements.job.defaultValue; window.form.requestSubmit(); return null; })()`)
	tabs[1].until(`document.body.innerText.includes("Nothing was done") || document.body.innerText.includes("It is due already")`)
	tabs[1].forgive("409")
}

// Who clicks twice does it once.
func TestDoubleClick(t *testing.T) {
	c := start(t, web.Options{})
	var runs atomic.Int32
	mux := millhand.NewMux()
	mux.HandleFunc("email", func(context.Context, *millhand.Job[millhand.Raw]) ([]byte, error) {
		runs.Add(1)
		return nil, millhand.Permanent(errors.New("450 4.7.1 greylisted"))
	})
	c.worker("web-1", 4, []string{"default"}, mux)
	ref := c.enqueue("email", `{}`)
	c.await("it is dead", func() bool { return c.dead() == 1 })
	p := open(t, c.server.URL)
	p.look(1280, "light")
	p.goTo("/jobs/default/email/" + ref.ID)
	value[any](p, `(() => { const b = document.querySelector(".acts [value=retry]").form.querySelector("button"); b.click(); b.click(); return null; })()`)
	p.until(`document.body.innerText.includes("1 job retried") || document.body.innerText.includes("Nothing was done")`)
	p.forgive("409") // of the second, if it was sent
	c.await("it is dead again", func() bool { return c.dead() == 1 && runs.Load() >= 2 })
	if n := c.retried(); runs.Load() != 2 || n != 1 {
		t.Errorf("it ran %d times and was retried %d times, want 2 and 1", runs.Load(), n)
	}
}

// retried is how many jobs the audit says were retried.
func (c *cluster) retried() (n int) {
	c.Helper()
	resp, err := http.Get(c.server.URL + "/api/v1/activity")
	if err != nil {
		c.Fatal(err)
	}
	defer resp.Body.Close()
	var all struct {
		Records []struct {
			Action string
			Count  int
		}
	}
	if err := json.NewDecoder(resp.Body).Decode(&all); err != nil {
		c.Fatal(err)
	}
	for _, r := range all.Records {
		if r.Action == "retry" {
			n += r.Count
		}
	}
	return n
}

// A page that nobody sees asks for nothing, and goes on when it is seen again.
func TestHiddenTab(t *testing.T) {
	c := start(t, web.Options{})
	c.enqueue("email", `{}`)
	var streams, begun atomic.Int32
	inner := c.server.Config.Handler
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/live/") {
			begun.Add(1)
			streams.Add(1)
			defer streams.Add(-1)
		}
		inner.ServeHTTP(w, r)
	}))
	t.Cleanup(front.Close)
	t.Cleanup(front.CloseClientConnections)
	p := open(t, front.URL)
	p.goTo("/queues")
	p.until(`Number(document.documentElement.dataset.updated) >= 1`)
	hide := func(hidden string) {
		value[any](p, `(() => { Object.defineProperty(document, "hidden", {value: `+hidden+`, configurable: true}); Object.defineProperty(document, "visibilityState", {value: `+hidden+` ? "hidden" : "visible", configurable: true});
			document.dispatchEvent(new Event("visibilitychange")); return null; })()`)
	}
	hide("true")
	c.await("the stream to be closed", func() bool { return streams.Load() == 0 })
	asked := begun.Load()
	hide("false")
	c.enqueue("email", `{}`)
	p.until(`document.querySelector("#q-default [data-label=Ready]").innerText.trim() === "2"`)
	if begun.Load() != asked+1 {
		t.Errorf("%d streams were begun when the page was seen again, want 1", begun.Load()-asked)
	}
}

// While the broker is away a page says so and shows what it had, and it comes back by itself.
func TestBrokerAwayAndBack(t *testing.T) {
	c := start(t, web.Options{})
	c.enqueue("email", `{}`)
	p := open(t, c.server.URL)
	p.goTo("/queues")
	p.until(`Number(document.documentElement.dataset.updated) >= 1`)
	value[any](p, `(() => { window.stayed = true; return null; })()`)
	at, err := url.Parse(c.broker.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(at.Port())
	if err != nil {
		t.Fatal(err)
	}
	c.broker.Shutdown()
	p.until(`document.querySelector("#banner").innerText.includes("does not answer") && document.querySelector("#q-default [data-label=Ready]").innerText.trim() === "1"`)
	b, err := broker.Start(broker.Config{Store: c.store, Port: port})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Shutdown)
	p.until(`!document.querySelector("#banner").innerText.includes("does not answer") && window.stayed`)
	c.await("a job to be enqueued", func() bool {
		_, err := c.client.Enqueue(t.Context(), millhand.Raw{Name: "email"})
		return err == nil
	})
	p.until(`Number(document.querySelector("#q-default [data-label=Ready]").innerText.trim()) >= 2`)
}

// Within a host whose own content policy comes on top, pages work.
func TestHostsOwnPolicy(t *testing.T) {
	c := start(t, web.Options{Base: "/ops"})
	c.enqueue("email", `{}`)
	target, err := url.Parse(c.server.URL)
	if err != nil {
		t.Fatal(err)
	}
	front := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) },
		ModifyResponse: func(r *http.Response) error {
			r.Header.Add("Content-Security-Policy", "default-src 'self'; object-src 'none'; base-uri 'self'; form-action 'self'")
			return nil
		},
	})
	t.Cleanup(front.Close)
	t.Cleanup(front.CloseClientConnections)
	p := open(t, front.URL)
	p.look(1280, "light")
	for _, path := range []string{"/ops/", "/ops/queues", "/ops/settings"} {
		p.goTo(path)
	}
	p.goTo("/ops/queues")
	c.enqueue("email", `{}`)
	p.until(`document.querySelector("#q-default [data-label=Ready]").innerText.trim() === "2"`)
}

// A time is shown in the zone of the browser or in the one that was chosen, over a change of the clocks, too.
func TestZones(t *testing.T) {
	c := start(t, web.Options{})
	now := time.Now()
	for zone, chosen := range map[string]bool{"Europe/Berlin": false, "Asia/Kolkata": true, "UTC": true} {
		location, err := time.LoadLocation(zone)
		if err != nil {
			t.Fatal(err)
		}
		p := open(t, c.server.URL)
		p.look(1280, "light")
		if chosen {
			p.goTo("/settings")
			value[any](p, `(() => { const f = document.querySelector("main form"); f.elements.zone.value = "`+zone+`"; f.requestSubmit(); return null; })()`)
			p.until(`document.documentElement.dataset.zone === "` + zone + `"`)
		} else {
			p.do(call(emulation.SetTimezoneOverride, emulation.SetTimezoneOverrideParams{TimezoneID: zone}))
			p.goTo("/settings")
		}
		for _, ahead := range []time.Duration{90 * 24 * time.Hour, 180 * 24 * time.Hour} { // one of them is beyond a change of clocks
			due := now.Add(ahead).Truncate(time.Second)
			ref := c.enqueue("email", `{}`, millhand.WithRunAt(due))
			p.goTo("/jobs/default/email/" + ref.ID)
			want := due.In(location).Format("2006-01-02 15:04:05")
			p.until(`[...document.querySelectorAll("main time")].some(t => t.title.startsWith("` + want + `"))`)
		}
	}
}
