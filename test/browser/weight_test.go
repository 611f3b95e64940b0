package browser

import (
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"

	"github.com/millhand/millhand/web"
)

// What a visit weighs, compressed, as the browser counts it: the first one, a further page, and an update. How long a page
// takes to be there is told, and not judged: that depends on the machine.
func TestWeights(t *testing.T) {
	c := start(t, web.Options{Objective: map[string]time.Duration{"default": time.Second}})
	c.seed()
	var sent atomic.Int64
	inner := c.server.Config.Handler
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { inner.ServeHTTP(scale{w, &sent}, r) }))
	t.Cleanup(front.Close)
	t.Cleanup(front.CloseClientConnections)
	p := open(t, front.URL)
	p.look(1280, "light")
	const throttle = 4
	p.do(call(emulation.SetCPUThrottlingRate, emulation.SetCPUThrottlingRateParams{Rate: throttle}))
	for _, page := range []struct {
		path string
		most int64 // bytes
	}{{"/", 90_000}, {"/queues", 15_000}, {"/types", 15_000}, {"/jobs?filter=state:ready+type:import", 15_000}, {"/dead?all=yes", 15_000}, {"/workers", 15_000}, {"/queues/default", 15_000}} {
		before := sent.Load()
		p.goTo(page.path)
		p.until(`performance.getEntriesByType("navigation")[0].loadEventEnd > 0`)
		weight := sent.Load() - before
		times := value[[]float64](p, `(() => { const n = performance.getEntriesByType("navigation")[0];
			const paints = performance.getEntriesByType("paint").map(e => e.startTime);
			return [n.responseStart - n.requestStart, Math.max(...paints, 0), n.domContentLoadedEventEnd - n.responseEnd]; })()`)
		t.Logf("%s: %d bytes; first byte after %.0f ms, painted after %.0f ms, scripts and layout %.0f ms (loopback, CPU throttled %d×)", page.path, weight, times[0], times[1], times[2], throttle)
		if weight > page.most {
			t.Errorf("%s: %d bytes, want at most %d", page.path, weight, page.most)
		}
	}
	p.goTo("/queues")
	p.until(`Number(document.documentElement.dataset.updated) >= 1`)
	before := sent.Load()
	c.enqueue("email", `{}`)
	p.until(`Number(document.documentElement.dataset.updated) >= 3`)
	updates := int64(value[float64](p, `Number(document.documentElement.dataset.updated)`)) - 1
	if each := (sent.Load() - before) / updates; each > 4_000 {
		t.Errorf("an update is %d bytes, want at most 4,000", each)
	}
}

// A scale counts what a handler sends, as it is sent: compressed.
type scale struct {
	http.ResponseWriter

	sent *atomic.Int64
}

// Write implements [io.Writer].
func (s scale) Write(b []byte) (int, error) {
	s.sent.Add(int64(len(b)))
	return s.ResponseWriter.Write(b)
}

// Unwrap lets [http.ResponseController] flush it.
func (s scale) Unwrap() http.ResponseWriter { return s.ResponseWriter }

// Flush implements [http.Flusher].
func (s scale) Flush() { _ = http.NewResponseController(s.ResponseWriter).Flush() }
