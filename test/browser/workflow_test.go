package browser

import (
	"context"
	"testing"

	"github.com/chromedp/chromedp/kb"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/web"
)

// The graph of a workflow moves while it runs, and is nowhere wider than the screen; a person signals with a form
// that asks first.
func TestWorkflowMoves(t *testing.T) {
	c := start(t, web.Options{})
	mux := millhand.NewMux()
	mux.HandleFunc("step", func(context.Context, *millhand.Job[millhand.Raw]) ([]byte, error) { return nil, nil })
	w := millhand.NewWorkflow("nightly", millhand.WorkflowConfig{ID: "import"})
	load := w.Step("load", millhand.Raw{Name: "step"}, millhand.Undo(millhand.Raw{Name: "step"}))
	report := w.Step("report", millhand.Raw{Name: "step"}, millhand.After(load))
	w.Step("publish", millhand.Raw{Name: "step"}, millhand.After(report, w.Signal("approved")))
	if _, err := c.client.Start(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	p := open(t, c.server.URL)
	p.look(1280, "light")
	p.goTo("/workflows")
	p.goTo(value[string](p, `document.querySelector("main [data-open]").getAttribute("href")`))
	p.until(`document.querySelectorAll(".graph .step").length === 5 && document.querySelectorAll(".graph .edge").length === 4`)
	for _, width := range []int64{1280, 320} {
		p.look(width, "light")
		if over := value[float64](p, `document.documentElement.scrollWidth - document.documentElement.clientWidth`); over > 0 {
			t.Errorf("at %d px: %v px are beside the screen", width, over)
		}
	}
	p.look(1280, "light")
	p.until(`document.querySelectorAll(".graph .g-ready").length === 1`)
	c.worker("web-1", 2, []string{"default"}, mux)
	p.until(`document.querySelectorAll(".graph .g-succeeded").length === 2`)
	p.picture("workflow.png")
	value[any](p, `(() => { document.querySelector("#s-approved details").open = true; document.querySelector("#s-approved form button").click(); return null; })()`)
	p.until(`document.querySelectorAll(".graph .g-succeeded").length === 4 && document.querySelector("#workflow-state").innerText.includes("succeeded")`)
}

// Keys alone lead to a workflow, and have it go on that waits for a person.
func TestWorkflowByKeys(t *testing.T) {
	c := start(t, web.Options{})
	mux := millhand.NewMux()
	mux.HandleFunc("step", func(context.Context, *millhand.Job[millhand.Raw]) ([]byte, error) { return nil, nil })
	c.worker("web-1", 2, []string{"default"}, mux)
	w := millhand.NewWorkflow("nightly", millhand.WorkflowConfig{ID: "import"})
	w.Step("publish", millhand.Raw{Name: "step"}, millhand.After(w.Signal("approved")))
	if _, err := c.client.Start(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	p := open(t, c.server.URL)
	p.look(1280, "light")
	p.goTo("/")
	p.keys("gf")
	p.until(`document.documentElement.dataset.ready === "yes" && location.pathname === "/workflows"`)
	p.keys("j")
	p.until(`document.activeElement.matches("#w-default-import [data-open]")`)
	p.keys(kb.Enter)
	p.until(`document.documentElement.dataset.ready === "yes" && location.pathname === "/workflows/default/import"`)
	p.tabTo(`e.textContent.startsWith("Signal…")`)
	p.keys(kb.Enter)
	p.tabTo(`e.textContent === "Signal approved"`)
	p.keys(kb.Enter)
	p.sees("Workflow import is signalled")
	p.until(`document.querySelector("#workflow-state").innerText.includes("succeeded")`)
}
