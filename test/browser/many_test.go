package browser

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/heapprofiler"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/web"
)

// beside opens another tab of the same profile.
func (p *tab) beside() *tab {
	p.Helper()
	ctx, cancel := chromedp.NewContext(p.ctx)
	p.Cleanup(cancel)
	other := &tab{T: p.T, ctx: ctx, origin: p.origin}
	if err := chromedp.Listen(ctx, other.note); err != nil {
		p.Fatal(err)
	}
	p.Cleanup(other.check)
	return other
}

// Eight tabs of one person are all kept up to date, each as it is seen: browsers have few connections to a server, so
// those that are not seen have none.
func TestEightTabs(t *testing.T) {
	c := start(t, web.Options{})
	c.enqueue("email", `{}`)
	tabs := []*tab{open(t, c.server.URL)}
	for range 7 {
		tabs = append(tabs, tabs[0].beside())
	}
	for _, p := range tabs {
		p.goTo("/queues")
	}
	c.enqueue("email", `{}`)
	for _, p := range tabs {
		p.do(call(page.BringToFront, cdp.Empty{}), call(input.DispatchMouseEvent, input.DispatchMouseEventParams{Type: "mouseMoved", X: 300, Y: 300}))
		p.until(`document.querySelector("#q-default [data-label=Ready]").innerText.trim() === "2"`)
	}
}

// An operation on 2,000 jobs goes on when its page is loaded anew, and is stopped: the broker has the rest.
func TestStopOperationOnMany(t *testing.T) {
	const all = 2000
	c := start(t, web.Options{})
	mux := millhand.NewMux()
	mux.HandleFunc("email", func(context.Context, *millhand.Job[millhand.Raw]) ([]byte, error) {
		return nil, millhand.Permanent(errors.New("450 4.7.1 greylisted"))
	})
	c.worker("web-1", 64, []string{"default"}, mux)
	for range all {
		c.enqueue("email", `{}`)
	}
	c.await("2,000 dead", func() bool { return c.dead() == all })
	p := open(t, c.server.URL)
	p.look(1280, "light")
	p.goTo("/bulk/new?do=delete&filter=state:dead")
	p.sees("Delete 2,000 jobs?")
	p.fill(`main [name=typed]`, strconv.Itoa(all))
	p.press(`main .button.danger`)
	p.until(`/^\/bulk\/(?!new)/.test(location.pathname) && document.querySelector("#bulk-run")`)
	p.until(`Number(document.querySelector("#bulk-run .facts b").innerText.replaceAll(",", "")) >= 100`)
	p.goTo(value[string](p, `location.pathname`))
	p.press(`#bulk-run .button.danger`)
	p.sees("It was stopped. The rest is as it was.")
	said := value[string](p, `document.querySelector("#bulk-run .facts b").innerText.replaceAll(",", "")`)
	done, err := strconv.Atoi(said)
	if left := c.dead(); err != nil || done < 100 || done >= all || left != all-done {
		t.Errorf("the page says that %s are deleted, and the broker has %d of %d", said, left, all)
	}
}

// heap is how many bytes a page's objects take once what is unused is collected.
func (p *tab) heap() (bytes float64) {
	p.Helper()
	for range 3 { // what one collection frees lets the next free more
		p.do(call(heapprofiler.CollectGarbage, cdp.Empty{}))
	}
	p.do(chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		usage, err := cdp.Call(ctx, t, runtime.GetHeapUsage, cdp.Empty{})
		if err == nil {
			bytes = usage.UsedSize
		}
		return err
	}))
	return bytes
}

// A page of 200 rows that all change takes no more memory after many updates than after a few. It lasts for as long as
// eight updates, which come every two seconds. One that was kept would be half of what the page takes. With -watch it goes on
// for that long, and nothing may be kept at all.
func TestMemoryIsFlat(t *testing.T) {
	const types = 200
	c := start(t, web.Options{})
	mux := millhand.NewMux()
	for i := range types {
		mux.HandleFunc(fmt.Sprintf("type-%03d", i), func(context.Context, *millhand.Job[millhand.Raw]) ([]byte, error) { return nil, nil })
	}
	c.worker("web-1", 1, []string{"default"}, mux)
	if err := c.client.Pause(t.Context(), "default"); err != nil {
		t.Fatal(err)
	}
	p := openFor(t, c.server.URL, 3*patience+*watch)
	p.look(1280, "light")
	p.goTo("/types")
	p.until(fmt.Sprintf(`document.querySelectorAll("#types tbody tr").length === %d`, types))
	ready := 0
	update := func() {
		ready++
		for i := range types {
			c.enqueue(fmt.Sprintf("type-%03d", i), `{}`)
		}
		p.until(fmt.Sprintf(`[...document.querySelectorAll("#types tbody [data-label=Ready]")].every(e => e.innerText.trim() === "%d")`, ready))
	}
	for range 3 { // code is compiled, and lists find their size
		update()
	}
	begin, settle := time.Now(), min(*watch/5, 2*time.Minute)
	for time.Since(begin) < settle {
		update()
	}
	nodes, most := `document.getElementsByTagName("*").length`, 1.25
	heap, elements := p.heap(), value[float64](p, nodes)
	if *watch > 0 {
		most = 1.1
		t.Logf("after %d updates, %v: %.0f bytes, %v elements", ready, time.Since(begin).Round(time.Second), heap, elements)
	}
	for n := 0; n < 5 || time.Since(begin) < *watch; n++ {
		update()
		if n%30 == 29 {
			t.Logf("after %d updates, %v: %.0f bytes", ready, time.Since(begin).Round(time.Second), p.heap())
		}
	}
	if now, n := p.heap(), value[float64](p, nodes); now > heap*most || n != elements {
		t.Errorf("after %d updates the page takes %.0f bytes and has %v elements, before %.0f and %v", ready, now, n, heap, elements)
	}
}

// Who draws over a chart sees that time alone, and its address has it.
func TestDrawOverAChart(t *testing.T) {
	c := start(t, web.Options{})
	mux := millhand.NewMux()
	mux.HandleFunc("email", func(context.Context, *millhand.Job[millhand.Raw]) ([]byte, error) { return nil, nil })
	c.worker("web-1", 1, []string{"default"}, mux) // which makes the stream of statistics
	c.enqueue("email", `{}`)
	c.history(time.Hour)
	p := open(t, c.server.URL)
	p.look(1280, "light")
	p.goTo("/queues/default?range=1h")
	p.until(`document.querySelector("#chart-ends .u-over")`)
	at := value[[]float64](p, `(() => { const r = document.querySelector("#chart-ends .u-over").getBoundingClientRect(); return [r.left, r.top, r.width]; })()`)
	mouse := func(kind input.DispatchMouseEventType, share float64) chromedp.Action[chromedp.Void] {
		return call(input.DispatchMouseEvent, input.DispatchMouseEventParams{Type: kind, X: at[0] + share*at[2], Y: at[1] + 40, Button: input.MouseButtonLeft, Buttons: 1, ClickCount: 1})
	}
	p.do(mouse("mouseMoved", 0.25), mouse("mousePressed", 0.25), mouse("mouseMoved", 0.5), mouse("mouseMoved", 0.75), mouse("mouseReleased", 0.75))
	p.until(`new URL(location.href).searchParams.get("until") && document.documentElement.dataset.ready === "yes"`)
	minutes := value[float64](p, `(() => { const q = new URL(location.href).searchParams; return (new Date(q.get("until")) - new Date(q.get("since"))) / 60000; })()`)
	if rows := value[float64](p, `document.querySelectorAll("#chart-ends-table tbody tr").length`); minutes < 20 || minutes > 40 || rows != minutes {
		t.Errorf("half of an hour is %v minutes, of which %v are shown", minutes, rows)
	}
	if text := value[string](p, `document.querySelector(".ranges [aria-current]").innerText`); !strings.Contains(text, "–") {
		t.Errorf("the range is called %q", text)
	}
}
