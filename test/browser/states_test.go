package browser

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/web"
)

// sound fails if a page is wider than a phone, or breaks a rule of those with an assistive technology.
func (p *tab) sound(what string) {
	p.Helper()
	p.look(320, "light")
	if over := value[float64](p, `document.documentElement.scrollWidth - document.documentElement.clientWidth`); over > 0 {
		p.Errorf("%s at 320 px: %v px are beside the screen: %s", what, over, value[string](p, wide))
	}
	p.look(1280, "light")
	p.accessible(what)
}

// What jobs, people and handlers write is text wherever it is shown: it is no element, runs nothing, and has the page no
// wider.
func TestHostileStrings(t *testing.T) {
	const evil = `"><img src=x onerror="window.hacked=1"><script>window.hacked=1</script>'{{.}}<!--`
	long := evil + strings.Repeat("w", 2000) + "\u202e"
	c := start(t, web.Options{})
	hold := make(chan struct{})
	t.Cleanup(func() { close(hold) })
	mux := millhand.NewMux()
	mux.HandleFunc("email", func(context.Context, *millhand.Job[millhand.Raw]) ([]byte, error) {
		return nil, millhand.Permanent(errors.New(long))
	})
	mux.HandleFunc("text", func(context.Context, *millhand.Job[millhand.Raw]) ([]byte, error) { return []byte(long), nil })
	mux.HandleFunc("slow", func(ctx context.Context, j *millhand.Job[millhand.Raw]) ([]byte, error) {
		j.Progress(1, 2, evil)
		select {
		case <-hold:
		case <-ctx.Done():
		}
		return nil, nil
	})
	c.worker("web-1", 4, []string{"default"}, mux)
	dead := c.enqueue("email", `{"x":`+"\"\\u003cscript\\u003e"+`<script>window.hacked=1</script>"}`, millhand.WithMeta("customer", evil))
	ended := c.enqueue("text", long)
	slow := c.enqueue("slow", `{}`)
	c.enqueue("later", long, millhand.WithDelay(time.Hour), millhand.WithQueue("media"))
	c.await("a dead one", func() bool { return c.dead() == 1 })
	flow := millhand.NewWorkflow(evil, millhand.WorkflowConfig{ID: "evil"})
	flow.Step("fails", millhand.Raw{Name: "email"})
	if _, err := c.client.Start(t.Context(), flow); err != nil {
		t.Fatal(err)
	}
	c.await("a workflow that failed", func() bool { return c.dead() == 3 })
	c.pause("media", evil)
	p := openFor(t, c.server.URL, 10*patience)
	p.look(1280, "light")
	for path, text := range map[string]string{
		"/jobs/default/email/" + dead.ID: evil, "/jobs/default/text/" + ended.ID: evil, "/jobs/default/slow/" + slow.ID: "",
		"/dead?all=yes": "window.hacked", "/jobs?filter=state:dead": "<img src=x", "/jobs?filter=payload:hacked": "", "/queues": "", "/queues/media": "<img src=x", "/activity": "", "/workers": "", "/types/email": "",
		"/workflows": "<img src=x", "/workflows/default/evil": "<img src=x", "/jobs/default/email/evil--fails": evil,
	} {
		p.goTo(path)
		if text != "" {
			p.sees(text)
		}
		p.sound(path)
		if value[bool](p, `window.hacked !== undefined || document.querySelector("main img, main script") !== null`) {
			t.Errorf("%s: what was written became more than text", path)
		}
	}
}

// pause pauses a queue as a program does it, with a reason.
func (c *cluster) pause(queue, reason string) {
	c.Helper()
	c.put("pauses/"+queue, map[string]any{"reason": reason})
}

// put changes something as a program does it.
func (c *cluster) put(path string, what map[string]any) {
	c.Helper()
	body, err := json.Marshal(what)
	if err != nil {
		c.Fatal(err)
	}
	r, err := http.NewRequestWithContext(c.Context(), http.MethodPut, c.server.URL+"/api/v1/"+path, bytes.NewReader(body))
	if err != nil {
		c.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		c.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		c.Fatal(resp.Status)
	}
}

// Where there is nothing, where nothing is found, and while nobody answers, pages are as sound as elsewhere.
func TestEmptyAndFailingPages(t *testing.T) {
	c := start(t, web.Options{})
	p := openFor(t, c.server.URL, 10*patience)
	p.look(1280, "light")
	for _, page := range shown() {
		if slices.Contains([]string{"queue", "type", "job", "worker", "workflow", "workflow-wide"}, page.name) {
			continue // which are not there
		}
		p.goTo(page.path)
		p.sound("nothing: " + page.path)
	}
	for path, text := range map[string]string{
		"/queues/nothing": "There is no queue nothing", "/jobs/default/email/x": "Nothing is known of it", "/workers/nobody": "There is no worker nobody", "/workflows/default/nothing": "Nothing is known of it", "/workflows?phase=dead": "There is no workflow", "/nothing": "There is no such page",
		"/jobs?filter=nonsense:x": "nonsense", "/jobs?filter=state:dead+type:nothing": "", "/bulk/nothing": "",
	} {
		p.goTo(path)
		p.sees(text)
		p.sound(path)
	}
	p.forgive("status of 404")
	c.enqueue("email", `{}`)
	p.goTo("/queues")
	p.until(`Number(document.documentElement.dataset.updated) >= 1`)
	c.broker.Shutdown()
	p.until(`document.querySelector("#banner").innerText.includes("does not answer")`)
	p.sound("the broker away, a page that was open")
	p.goTo("/queues")
	p.sees("does not answer")
	p.sound("the broker away, a page that is loaded")
	p.goTo("/jobs?filter=state:dead")
	p.sees("does not answer")
	p.sound("the broker away, a page that needs it")
	p.forgive("status of 503")
}
