package cli

import (
	"strings"
	"unicode"
)

// OneLine is text of others without what would break a line, move a cursor or hide what stands there.
func OneLine(text string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r), unicode.IsControl(r):
			return ' '
		case unicode.In(r, unicode.Bidi_Control):
			return unicode.ReplacementChar
		}
		return r
	}, text))
}
