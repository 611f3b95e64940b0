package cli

import (
	"strings"

	"github.com/rivo/uniseg"
)

// Shorten cuts a text to so many columns, and says so with its last character.
func Shorten(text string, width int) string {
	if uniseg.StringWidth(text) <= width {
		return text
	}
	var b strings.Builder
	room := width - 1
	for g := uniseg.NewGraphemes(text); g.Next() && g.Width() <= room; {
		b.WriteString(g.Str())
		room -= g.Width()
	}
	return b.String() + "…"
}
