package view

import (
	"cmp"
	"context"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// An ErrorGroup is errors that differ only in what changes from job to job.
type ErrorGroup struct {
	Code string // short, and the same everywhere: what the term group: is about
	Text string // the error with marks in the place of what changes
}

// groupText is how many characters of an error tell its group, and readText how many bytes are read
// for that.
const (
	groupText = 200
	readText  = 2000
)

// GroupOf returns the group of a job's error. An error without a text goes by its reason; the zero value
// is that of neither.
func GroupOf(text, reason string) ErrorGroup {
	if text = normalised(text); text == "" && reason != "" {
		text = "(" + reason + ")"
	}
	if text == "" {
		return ErrorGroup{}
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(text)) // a hash takes all
	return ErrorGroup{Code: fmt.Sprintf("%08x", h.Sum32()), Text: text}
}

// normalised replaces numbers, ids, paths and quoted text by marks, and spaces by one.
func normalised(text string) string {
	text = strings.ToValidUTF8(text[:min(len(text), readText)], "")
	var b strings.Builder
	n := normaliser{out: &b}
	for text != "" && b.Len() < 4*groupText {
		r, size := utf8.DecodeRuneInString(text)
		switch {
		case unicode.IsSpace(r), unicode.IsControl(r):
			n.space = b.Len() > 0
			text = text[size:]
		case n.quoted(text) > 0:
			text = text[n.quoted(text):]
			n.write("<text>")
			n.word = ""
		case separates(r):
			n.write(text[:size])
			text = text[size:]
		default:
			end := wordEnd(text)
			n.write(n.mark(text[:end]))
			n.word, text = text[:end], text[end:]
		}
	}
	out := []rune(b.String())
	return string(out[:min(len(out), groupText)])
}

type normaliser struct {
	out   *strings.Builder
	space bool   // one is to be written
	word  string // the last one as it was; empty: none, or it is not known
}

func (n *normaliser) write(s string) {
	if n.space {
		n.out.WriteByte(' ')
		n.space = false
	}
	n.out.WriteString(s)
}

// quoted returns how long a quoted text is that begins here, 0 if none does. An apostrophe is no quote.
func (n *normaliser) quoted(text string) int {
	r, size := utf8.DecodeRuneInString(text)
	end := map[rune]string{'"': `"`, '`': "`", '\'': "'", '“': "”", '‘': "’", '«': "»"}[r]
	if end == "" {
		return 0
	}
	at := strings.Index(text[size:], end)
	if at < 0 {
		return 0
	}
	return size + at + len(end)
}

// separates reports whether r is no part of a word.
func separates(r rune) bool { return strings.ContainsRune(`=()[]{},;<>|"`+"`“‘«", r) }

func wordEnd(text string) int {
	for i, r := range text {
		if unicode.IsSpace(r) || unicode.IsControl(r) || separates(r) {
			return i
		}
	}
	return len(text)
}

// mark returns what stands for a word.
func (n *normaliser) mark(word string) string {
	core := strings.TrimRight(word, ".:!?")
	rest := word[len(core):]
	first := n.out.Len() == 0
	switch {
	case !strings.ContainsAny(core, `0123456789/\@`):
		return word
	case first && isStatus(core), saysStatus(n.word) && len(core) <= len("404"), isStatus(n.word) && isMailStatus(core):
		return word // that is what it is about
	case isPath(core):
		return "<path>" + rest
	case isID(core):
		return "<id>" + rest
	}
	return numbersMarked(core) + rest
}

// isStatus reports whether a word is a status of HTTP, of SMTP or the like.
func isStatus(word string) bool {
	return len(word) == 3 && word[0] >= '1' && word[0] <= '5' && strings.Trim(word, "0123456789") == ""
}

// saysStatus reports whether the word behind this one is a status, of HTTP or of a process.
func saysStatus(word string) bool {
	return slices.Contains([]string{"status", "code", "http"}, strings.ToLower(strings.TrimRight(word, ":")))
}

// isMailStatus is an enhanced status, such as 4.7.1.
func isMailStatus(word string) bool {
	return len(word) >= len("4.7.1") && strings.Count(word, ".") == 2 && strings.Trim(word, "0123456789.") == ""
}

func isPath(word string) bool {
	switch {
	case strings.Contains(word, "://"), strings.HasPrefix(word, "./"), strings.HasPrefix(word, "../"), strings.HasPrefix(word, "~/"):
		return true
	case len(word) > 2 && word[1] == ':' && word[2] == '\\', strings.HasPrefix(word, `\\`):
		return true
	}
	return len(word) > 1 && word[0] == '/' || strings.Count(word, "/") > 1
}

// isID reports whether a word is an address, or so long a mixture of digits and letters that somebody made
// it up: a UUID, a hash, a token.
func isID(word string) bool {
	word, hex := strings.CutPrefix(strings.ToLower(word), "0x")
	if hex || strings.Contains(word, "@") {
		return true
	}
	if strings.Count(word, ".") == 3 && strings.Trim(word, "0123456789.:/") == "" || strings.Count(word, ":") > 2 && strings.Trim(word, "0123456789abcdef:.%") == "" {
		return true
	}
	digits := len(word) - len(strings.Map(noDigit, word))
	const ofHex, mixed, token = 8, 16, 24 // characters from which it is one
	isHex := strings.Trim(word, "0123456789abcdef-") == ""
	isToken := digits > 1 && len(word) >= token && !strings.ContainsAny(word, "./:_-")
	return digits < len(word) && digits > 0 && (isHex && len(word) >= ofHex || len(word) >= mixed && digits >= len(word)/4 || isToken)
}

func noDigit(r rune) rune {
	if r >= '0' && r <= '9' {
		return -1
	}
	return r
}

// numbersMarked has a mark in the place of each number in a word.
func numbersMarked(word string) string {
	var b strings.Builder
	for i := 0; i < len(word); {
		if word[i] < '0' || word[i] > '9' {
			b.WriteByte(word[i])
			i++
			continue
		}
		for i < len(word) && (word[i] >= '0' && word[i] <= '9' || word[i] == '.' && i+1 < len(word) && word[i+1] >= '0' && word[i+1] <= '9') {
			i++
		}
		b.WriteString("<n>")
	}
	return b.String()
}

// A DeadGroup is dead jobs with errors of one group. The names of its fields as JSON are a contract.
type DeadGroup struct {
	Group   string    `json:"group"`
	Error   string    `json:"error"` // with marks
	Count   int       `json:"count"`
	Types   []string  `json:"types"`   // sorted
	Reasons []string  `json:"reasons"` // sorted
	Since   time.Time `json:"since"`   // when the first of them died
	Until   time.Time `json:"until"`   // and the last
	Example Job       `json:"example"` // the one that died last
}

// DeadGroups are the groups of the dead jobs that were looked at.
type DeadGroups struct {
	Groups  []DeadGroup `json:"groups"`  // the largest first
	Count   int         `json:"count"`   // of all that match
	Looked  int64       `json:"looked"`  // at
	Of      Count       `json:"of"`      // that are dead
	Partial bool        `json:"partial"` // older ones were not looked at
}

// groupsLooks is how many of the dead are looked at without being told to look at all.
const groupsLooks = 100_000

// DeadGroups groups the dead jobs that a query means by their errors, the newest 100,000 or all. It reads them.
func (v *View) DeadGroups(ctx context.Context, q Query, all bool) (*DeadGroups, error) {
	g := &DeadGroups{Groups: []DeadGroup{}}
	byCode := make(map[string]*DeadGroup)
	for q.N, q.Search = scanAtOnce, true; ; {
		page, err := v.List(ctx, q)
		if err != nil {
			return nil, err
		}
		g.Of, g.Looked = page.Looked.Of, g.Looked+page.Looked.Messages
		for i := range page.Jobs {
			g.Count++
			addToGroup(byCode, &page.Jobs[i])
		}
		q.Cursor = page.Cursor
		g.Partial = q.Cursor != "" && !all && g.Looked >= groupsLooks
		if q.Cursor == "" || g.Partial {
			break
		}
	}
	for _, code := range slices.Sorted(maps.Keys(byCode)) {
		of := byCode[code]
		slices.Sort(of.Types)
		slices.Sort(of.Reasons)
		g.Groups = append(g.Groups, *of)
	}
	slices.SortStableFunc(g.Groups, func(a, b DeadGroup) int { return cmp.Compare(b.Count, a.Count) })
	return g, nil
}

func addToGroup(byCode map[string]*DeadGroup, j *Job) {
	of := GroupOf(j.Error, j.Reason)
	g := byCode[of.Code]
	if g == nil {
		g = &DeadGroup{Group: of.Code, Error: of.Text, Example: *j, Since: j.Since, Until: j.Since}
		byCode[of.Code] = g
	}
	g.Count++
	if !slices.Contains(g.Types, j.Type) {
		g.Types = append(g.Types, j.Type)
	}
	if !slices.Contains(g.Reasons, j.Reason) {
		g.Reasons = append(g.Reasons, j.Reason)
	}
	if j.Since.Before(g.Since) {
		g.Since = j.Since
	}
	if j.Since.After(g.Until) {
		g.Until, g.Example = j.Since, *j
	}
}
