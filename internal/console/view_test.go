package console

import (
	"strings"
	"testing"

	"github.com/rivo/uniseg"
	"pgregory.net/rapid"
)

// Whatever is on a page, a screen has as many lines as the terminal, and none is wider: it would wrap, and all
// below it be in the wrong place. With colours there are the same characters as without.
func TestScreenFits(t *testing.T) {
	t.Parallel()
	word := rapid.StringMatching(`[a-z顧é]{0,12}( [a-z]{1,40}){0,4}`)
	rapid.Check(t, func(t *rapid.T) {
		p := &Page{Where: word.Draw(t, "where"), Title: word.Draw(t, "title"), Note: word.Draw(t, "note"), Empty: word.Draw(t, "empty")}
		for range rapid.IntRange(0, 6).Draw(t, "head") {
			p.Head = append(p.Head, Line{{word.Draw(t, "head"), Red}, {word.Draw(t, "more"), Normal}})
		}
		for range rapid.IntRange(1, 5).Draw(t, "columns") {
			p.Columns = append(p.Columns, Column{Title: word.Draw(t, "title"), Right: rapid.Bool().Draw(t, "right"), Spare: rapid.Bool().Draw(t, "spare"), Short: rapid.IntRange(0, 9).Draw(t, "short")})
		}
		for range rapid.IntRange(0, 40).Draw(t, "rows") {
			r := Row{Name: word.Draw(t, "name"), Can: []Op{Retry, Cancel}, Detail: word.Draw(t, "detail")}
			for range p.Columns {
				r.Cells = append(r.Cells, Cell{word.Draw(t, "cell"), Green})
			}
			p.Rows = append(p.Rows, r)
		}
		for range rapid.IntRange(0, 3).Draw(t, "lines") {
			p.Lines = append(p.Lines, Text(word.Draw(t, "line")+strings.Repeat("  x ", rapid.IntRange(0, 60).Draw(t, "more"))))
		}
		m := newModel(words{}, false, start)
		m.step(sizeMsg{rapid.IntRange(1, 130).Draw(t, "width"), rapid.IntRange(1, 50).Draw(t, "height")})
		m.step(loadedMsg{seq: m.seq, page: p})
		for range 3 {
			checkFits(t, m)
			press(m, rapid.SampledFrom([]string{"G", "down", "pgdown", "a", "x", "?", "/", "s", "o", "p"}).Draw(t, "key"))
		}
		m.step(plannedMsg{plan: &Plan{Title: word.Draw(t, "plan"), Do: "retry", Lines: []string{word.Draw(t, "why"), word.Draw(t, "why")}}})
		checkFits(t, m)
	})
}

func checkFits(t *rapid.T, m *model) {
	plain := strings.Split(m.drawn(), "\n")
	seen := m.width >= leastWidth && m.height >= leastHeight
	if seen && len(plain) != m.height {
		t.Errorf("%d lines, on a terminal of %d", len(plain), m.height)
	}
	for _, l := range plain {
		if n := uniseg.StringWidth(l); n > m.width {
			t.Errorf("%d columns, on a terminal of %d: %q", n, m.width, l)
		}
	}
}

// On the lowest terminal there is room for a row, whatever stands above it.
func TestRowsHaveRoom(t *testing.T) {
	t.Parallel()
	p := rows()
	p.Title = "queue default"
	for range 20 {
		p.Head = append(p.Head, Text("something is wrong"))
	}
	p.Rows[0].Detail = "a"
	for height := leastHeight; height < 30; height++ {
		m := at(t, p)
		m.step(sizeMsg{leastWidth, height})
		if text := m.drawn(); !strings.Contains(text, "▸ a") {
			t.Errorf("on %d lines:\n%s", height, text)
		}
	}
}

// A broken line has all of its words, and goes on below its text.
func TestWrapped(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ text, want string }{
		{"short", "short"},
		{"  quota_full   five of them are used by others", "  quota_full   five of them are\n               used by others"},
		{"   indented text of more words than fit here", "   indented text of more words\n   than fit here"},
		{"no title and no indent, but many words", "no title and no indent, but many\nwords"},
		{" a  " + strings.Repeat("x", 40), " a  " + strings.Repeat("x", 28) + "\n    " + strings.Repeat("x", 12)},
	} {
		var got []string
		for _, l := range wrapped([]Line{Text(tt.text)}, 32) {
			got = append(got, l.draw(false))
		}
		if text := strings.Join(got, "\n"); text != tt.want {
			t.Errorf("%q became\n%s\nwant\n%s", tt.text, text, tt.want)
		}
	}
}
