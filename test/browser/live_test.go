package browser

import (
	"testing"

	"github.com/millhand/millhand/web"
)

// What a person does on a page stays as it is while the page is kept up to date: experiment E5.
func TestUpdatesLeaveAlone(t *testing.T) {
	c := start(t, web.Options{})
	c.enqueue("email", `{}`)
	p := open(t, c.server.URL)
	p.look(1280, "light")
	p.goTo("/queues")
	p.until(`Number(document.documentElement.dataset.updated) >= 1`)
	value[any](p, `(() => {
		const form = document.querySelector(".act");
		form.open = true;
		const reason = form.querySelector("[name=reason]");
		reason.focus();
		reason.value = "database move";
		reason.setSelectionRange(2, 8);
		document.querySelector("[name=name]").value = "def";
		window.before = reason;
		document.querySelector("main").style.paddingBottom = "3000px";
		scrollTo(0, 300);
		return null;
	})()`)
	for range 3 {
		c.enqueue("email", `{}`)
	}
	p.until(`document.querySelector("#q-default [data-label=Ready]").innerText.trim() === "4"`)
	for what, want := range map[string]string{
		`window.before === document.activeElement`:                               "the focus",
		`window.before.value === "database move"`:                                "the text",
		`window.before.selectionStart === 2 && window.before.selectionEnd === 8`: "the selection",
		`document.querySelector("[name=name]").value === "def"`:                  "the text of a field without the focus",
		`document.querySelector(".act").open`:                                    "what is open",
		`scrollY === 300`:                                                        "where the page is scrolled to",
	} {
		if !value[bool](p, what) {
			t.Errorf("an update has changed %s", want)
		}
	}
}
