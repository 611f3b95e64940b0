package job

import (
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestCutNote(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.String().Draw(t, "text") + string(rapid.SliceOfN(rapid.Byte(), 0, 4).Draw(t, "bytes"))
		text = strings.Repeat(text, rapid.IntRange(1, 20).Draw(t, "times"))
		got := CutNote(text)
		switch {
		case !utf8.ValidString(got):
			t.Errorf("%q is no UTF-8", got)
		case utf8.ValidString(text) && !strings.HasPrefix(text, got):
			t.Errorf("%q is no part of %q", got, text)
		case utf8.ValidString(text) && len(got) < min(len(text), MaxNote-utf8.UTFMax+1):
			t.Errorf("%d of %d bytes are kept", len(got), len(text))
		case len(got) > MaxNote:
			t.Errorf("%d bytes", len(got))
		}
	})
}
