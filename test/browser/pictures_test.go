package browser

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/millhand/millhand/web"
)

// shown are the pages of which there are pictures, by their names.
func shown() []struct{ name, path string } {
	return []struct{ name, path string }{
		{"overview", "/"},
		{"queues", "/queues"},
		{"queue", "/queues/default"},
		{"types", "/types"},
		{"type", "/types/email"},
		{"jobs", "/jobs?filter=state:ready+type:import"},
		{"job", "JOB"},
		{"dead", "/dead?all=yes"},
		{"bulk", "/bulk/new?do=retry&filter=state:dead+type:invoice"},
		{"workflows", "/workflows"},
		{"workflow", "/workflows/default/import-2026-11-28"},
		{"workflow-wide", "/workflows/media/thumbnails"},
		{"workers", "/workers"},
		{"worker", "WORKER"},
		{"limits", "/limits"},
		{"cron", "/cron"},
		{"activity", "/activity?days=7"},
		{"broker", "/broker"},
		{"settings", "/settings"},
	}
}

// Each page is drawn in both themes, on a screen and on a phone, without an error, without a refusal of the
// content policy, and without a request to anywhere else. Nothing is wider than the screen.
func TestPages(t *testing.T) {
	c := start(t, web.Options{Objective: map[string]time.Duration{"default": time.Second}})
	c.seed()
	p := openFor(t, c.server.URL, 10*patience)
	p.look(1280, "light")
	p.goTo("/jobs?filter=state:ready+type:import")
	job := value[string](p, `document.querySelector("[data-open]").getAttribute("href")`)
	p.goTo("/workers")
	worker := value[string](p, `document.querySelector("main [data-open]").getAttribute("href")`)
	for _, page := range shown() {
		page.path = strings.NewReplacer("JOB", job, "WORKER", worker).Replace(page.path)
		p.goTo(page.path)
		for _, theme := range []string{"light", "dark"} {
			for _, width := range []int64{1280, 390, 320} {
				p.look(width, theme)
				p.until(`[...document.querySelectorAll(".plot .uplot")].every(u => u.offsetWidth <= u.parentElement.clientWidth)`)
				if over := value[float64](p, `document.documentElement.scrollWidth - document.documentElement.clientWidth`); over > 0 {
					t.Errorf("%s at %d px: %v px are beside the screen: %s", page.path, width, over, value[string](p, wide))
				}
				if n := value[float64](p, `document.querySelectorAll("h1").length`); n != 1 {
					t.Errorf("%s: %v headings of the first level, want 1", page.path, n)
				}
				if width == 1280 {
					p.accessible(page.path+" in "+theme, map[string][]string{"dark": {"color-contrast"}}[theme]...) // the rest is as in light
				}
				if width != 320 {
					p.picture(fmt.Sprintf("%s-%s-%d.png", page.name, theme, width))
				}
			}
		}
	}
}

// wide names what is wider than the screen.
const wide = `[...document.querySelectorAll("main *")].filter(e => e.getBoundingClientRect().right > document.documentElement.clientWidth + 1).slice(0, 5).map(e => e.tagName + "." + (e.className.baseVal ?? e.className)).join(" ")`

// picture keeps what the page looks like, if that is asked for.
func (p *tab) picture(name string) {
	p.Helper()
	if *pictures == "" {
		return
	}
	image, err := chromedp.Run(p.ctx, chromedp.FullScreenshot(100))
	if err == nil {
		err = os.WriteFile(filepath.Join(*pictures, name), image, 0o644)
	}
	if err != nil {
		p.Fatal(err)
	}
}
