package job

import (
	"strings"
	"time"
	"unicode/utf8"
)

// MaxNote is how long the note of a progress is at most, bytes.
const MaxNote = 200

// A Progress is how far the run of a job is, as its handler says.
type Progress struct {
	Done  int64     `json:"done"`
	Total int64     `json:"total"`          // 0: not known
	Note  string    `json:"note,omitempty"` // at most MaxNote bytes of UTF-8
	Time  time.Time `json:"time"`           // when it was passed on, by the worker's clock
}

// CutNote returns text as a note may be.
func CutNote(text string) string {
	text = strings.ToValidUTF8(text[:min(len(text), MaxNote+utf8.UTFMax)], "\uFFFD")
	if len(text) <= MaxNote {
		return text
	}
	end := MaxNote
	for !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end]
}
