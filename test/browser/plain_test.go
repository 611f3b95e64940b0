package browser

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/web"
)

// trouble starts a worker whose email jobs die until the returned flag is set, and has three of them dead.
func (c *cluster) trouble() *atomic.Bool {
	c.Helper()
	var mended atomic.Bool
	mux := millhand.NewMux()
	mux.HandleFunc("email", func(context.Context, *millhand.Job[millhand.Raw]) ([]byte, error) {
		if mended.Load() {
			return []byte(`{"accepted":true}`), nil
		}
		return nil, millhand.Permanent(errors.New("450 4.7.1 greylisted"))
	})
	c.worker("web-1", 4, []string{"default"}, mux)
	for range 3 {
		c.enqueue("email", `{"to":"ada@example.com"}`)
	}
	c.await("three dead", func() bool { return c.dead() == 3 })
	return &mended
}

// dead is how many jobs are dead.
func (c *cluster) dead() int {
	c.Helper()
	n, err := c.client.CountDead(context.Background(), millhand.DeadFilter{})
	if err != nil {
		c.Fatal(err)
	}
	return n
}

// withoutScript has a tab run no JavaScript of pages.
func (p *tab) withoutScript() {
	p.Helper()
	p.do(call(emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}))
}

// read opens a page as it comes.
func (p *tab) read(path string) {
	p.Helper()
	p.do(chromedp.Navigate(p.origin + path))
}

// fill types into a field.
func (p *tab) fill(selector, text string) {
	p.Helper()
	p.do(chromedp.SendKeys(chromedp.CSS(selector), text))
}

// Without JavaScript every page reads, and every kind of operation is done: the broker has what came of it.
func TestWithoutJavaScript(t *testing.T) {
	c := start(t, web.Options{})
	mended := c.trouble()
	waits := c.enqueue("resize", `{"image":"a.png"}`)
	w := millhand.NewWorkflow("nightly import", millhand.WorkflowConfig{ID: "import-2026-11-28"})
	w.Step("publish", millhand.Raw{Name: "resize"}, millhand.After(w.Signal("approved")))
	flow, err := c.client.Start(t.Context(), w)
	if err != nil {
		t.Fatal(err)
	}
	p := openFor(t, c.server.URL, 10*patience)
	p.look(1280, "light")
	p.withoutScript()
	p.read("/workers")
	worker := value[string](p, `document.querySelector("main [data-open]").getAttribute("href")`)
	for _, page := range shown() {
		if page.name == "workflow-wide" {
			continue // it is like the other one
		}
		page.path = strings.NewReplacer("JOB", "/jobs/default/resize/"+waits.ID, "WORKER", worker).Replace(page.path)
		p.read(strings.Replace(page.path, "invoice", "email", 1))
		if text := value[string](p, `document.querySelector("main h1").innerText + " " + document.querySelector("main").innerText.length`); strings.HasPrefix(text, " ") || strings.HasSuffix(text, " 0") {
			t.Errorf("%s says nothing: %q", page.path, text)
		}
		if value[bool](p, `document.documentElement.dataset.ready === "yes"`) {
			t.Fatalf("%s ran a script", page.path)
		}
	}

	p.read("/queues")
	p.press("#q-default summary")
	p.fill("#q-default [name=reason]", "database move")
	p.press("#q-default .pop button")
	p.sees("default is paused")
	paused, err := c.client.Paused(t.Context())
	if _, is := paused["default"]; err != nil || !is {
		t.Errorf("paused: %v, %v; want default", paused, err)
	}
	p.press("#q-default .do button")
	p.sees("default is resumed")
	if paused, err = c.client.Paused(t.Context()); err != nil || len(paused) > 0 {
		t.Errorf("paused: %v, %v; want nothing", paused, err)
	}

	p.read("/limits")
	p.fill("[name=pool][list]", "email")
	p.fill("form.pad [name=limit]", "3")
	p.press("form.pad button")
	p.sees("email: 3")
	if all, err := c.client.Quotas(t.Context()); err != nil || len(all) != 1 || all[0].Limit != 3 {
		t.Errorf("limits: %+v, %v; want email of 3", all, err)
	}

	p.read("/jobs/default/resize/" + waits.ID)
	p.press(".acts details:last-of-type summary")
	p.press(".acts details[open] .pop button")
	p.sees("1 job cancelled")
	if end, err := c.client.Get(t.Context(), waits); err != nil || end.State != millhand.Cancelled {
		t.Errorf("the job ended as %+v, %v; want it cancelled", end, err)
	}

	p.read("/workflows/default/import-2026-11-28")
	p.press("#s-approved summary")
	p.press("#s-approved .pop button")
	p.sees("Workflow import-2026-11-28 is signalled")
	c.await("the signal to be there", func() bool {
		now, err := c.client.GetWorkflow(t.Context(), flow)
		return err == nil && now.Steps[0].State == millhand.StepSucceeded
	})
	p.press(".acts summary")
	p.press(".acts .pop button")
	p.sees("Workflow import-2026-11-28 is being cancelled")
	c.await("the workflow to be cancelled", func() bool {
		end, err := c.client.Get(t.Context(), flow)
		return err == nil && end.State == millhand.Cancelled
	})

	mended.Store(true)
	p.read("/dead")
	p.press("tr[id^=g-] .do a")
	p.sees("Retry 3 jobs?")
	p.press("main form button")
	p.sees("Retry 3 jobs")
	c.await("the dead to be retried", func() bool { return c.dead() == 0 })
}
