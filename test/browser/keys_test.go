package browser

import (
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/millhand/millhand/web"
)

// keys presses keys, one after the other.
func (p *tab) keys(keys string) {
	p.Helper()
	p.do(chromedp.KeyEvent(keys))
}

// tabTo goes on to what is focused next until an expression of it, as e, holds.
func (p *tab) tabTo(expression string) {
	p.Helper()
	for range 40 {
		if value[bool](p, `(e => `+expression+`)(document.activeElement)`) {
			return
		}
		p.keys(kb.Tab)
	}
	p.Fatalf("forty times Tab do not lead to %s", expression)
}

// Keys alone lead from the overview to a group of dead jobs that is retried. Who opens a form and leaves it
// is back where they were.
func TestKeysAlone(t *testing.T) {
	c := start(t, web.Options{})
	mended := c.trouble()
	p := open(t, c.server.URL)
	p.look(1280, "light")
	p.goTo("/")
	p.keys("gq")
	p.until(`document.documentElement.dataset.ready === "yes" && location.pathname === "/queues"`)
	p.keys("j.")
	p.until(`document.activeElement.closest("#q-default .act[open]") !== null`)
	p.keys("a queue" + kb.Escape)
	p.until(`document.activeElement.matches("#q-default .act:not([open]) summary")`)

	p.keys("gd")
	p.until(`document.documentElement.dataset.ready === "yes" && location.pathname === "/dead"`)
	p.keys("j")
	p.until(`document.activeElement.matches("tr[id^=g-] [data-open]")`)
	if !value[bool](p, `document.activeElement.matches(":focus-visible") && getComputedStyle(document.activeElement).outlineStyle !== "none"`) {
		t.Error("what has the focus does not show it")
	}
	p.tabTo(`e.textContent.startsWith("Retry")`)
	p.keys(kb.Enter)
	p.until(`document.documentElement.dataset.ready === "yes" && location.pathname === "/bulk/new"`)
	mended.Store(true)
	p.tabTo(`e.textContent === "Retry them"`)
	p.keys(kb.Enter)
	p.until(`/^.bulk.(?!new)/.test(location.pathname) && document.body.innerText.includes("Done in")`)
	c.await("the dead to be retried", func() bool { return c.dead() == 0 })
}

// With forced colours, what has a meaning is told by words and shapes, which are to be seen.
func TestForcedColours(t *testing.T) {
	c := start(t, web.Options{})
	c.trouble()
	c.enqueue("resize", `{}`)
	p := open(t, c.server.URL)
	p.forceColours()
	p.goTo("/queues/default")
	if !value[bool](p, `matchMedia("(forced-colors: active)").matches`) {
		t.Fatal("no colours are forced")
	}
	for what, want := range map[string]string{
		`[...document.querySelectorAll(".state")].length > 0 && [...document.querySelectorAll(".state")].every(s => s.innerText.trim() !== "")`:                      "each state in words",
		`[...document.querySelectorAll(".state .i")].every(i => getComputedStyle(i).color !== getComputedStyle(document.body).backgroundColor && i.clientWidth > 0)`: "each state as a shape",
		`getComputedStyle(document.querySelector("#nav [aria-current]")).outlineStyle === "solid"`:                                                                   "where one is",
		`document.querySelectorAll(".button").length > 0 && [...document.querySelectorAll(".button")].every(b => getComputedStyle(b).borderTopStyle === "solid")`:    "the edges of buttons",
	} {
		if !value[bool](p, what) {
			t.Errorf("not to be seen: %s", want)
		}
	}
	p.goTo("/workers")
	if !value[bool](p, `getComputedStyle(document.querySelector(".bar .track")).fill !== getComputedStyle(document.body).backgroundColor && getComputedStyle(document.querySelector(".bar .fill")).fill !== getComputedStyle(document.querySelector(".bar .track")).fill`) {
		t.Error("not to be seen: how much of a whole is used")
	}
}
