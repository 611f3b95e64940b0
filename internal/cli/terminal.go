package cli

import (
	"io"
	"os"

	"golang.org/x/term"
)

// IsTerminal reports whether w is a terminal: a person watches.
func IsTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// CanRedraw reports whether what is on w can be drawn over.
func CanRedraw(w io.Writer) bool { return os.Getenv("TERM") != "dumb" && IsTerminal(w) }

// Color reports whether to write colours to w: it is a terminal that can show them, and
// nobody asked for none (https://no-color.org).
func Color(w io.Writer) bool {
	return os.Getenv("NO_COLOR") == "" && CanRedraw(w)
}

// defaultWidth is that of what is no terminal: a file or a pipe is read on one some day.
const defaultWidth = 80

// Width is how many columns w has.
func Width(w io.Writer) int {
	if f, ok := w.(*os.File); ok {
		if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 0 {
			return width
		}
	}
	return defaultWidth
}
