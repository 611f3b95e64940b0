package browser

import (
	_ "embed"
	"fmt"
	"strings"
)

// axe looks for what people with an assistive technology stumble over. It is Deque's axe-core 4.14.1, from
// https://registry.npmjs.org/axe-core/-/axe-core-4.14.1.tgz, under the licence that is beside it. Only tests have it.
//
//go:embed axe/axe.min.js
var axe string

// accessible fails for each rule of WCAG 2.2 AA that the page breaks, or for one of some rules alone.
func (p *tab) accessible(what string, rules ...string) {
	p.Helper()
	only := `{type: "tag", values: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}`
	if len(rules) > 0 {
		only = fmt.Sprintf(`{type: "rule", values: ["%s"]}`, strings.Join(rules, `", "`))
	}
	value[any](p, `(() => { window.found = null; if (!window.axe) { `+axe+` } axe.run(document, {resultTypes: ["violations"], runOnly: `+only+`})
		.then(r => { window.found = r.violations.map(v => v.id + ": " + v.help + " at " + v.nodes.slice(0, 3).map(n => n.target.join(" ") + " " + n.failureSummary.replaceAll("\n", " ")).join("; ")); }, e => { window.found = [String(e)]; }); return null; })()`)
	p.until(`window.found !== null`)
	for _, found := range value[[]string](p, `window.found`) {
		p.Errorf("%s: %s", what, found)
	}
}
