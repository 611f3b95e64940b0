package job

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// canonical returns the one text that all texts of the same JSON value have. It reports false for
// what is no JSON, or is read differently by different readers.
func canonical(payload []byte) (text []byte, ok bool) {
	if !utf8.Valid(payload) || !json.Valid(payload) || hasHalfPair(payload) {
		return nil, false
	}
	c := canonizer{rest: payload}
	text = c.value(make([]byte, 0, len(payload)))
	return text, !c.failed
}

// maxNesting is how deep a payload may be nested to be taken for JSON: readers have limits, and
// Python's is about 1,000.
const maxNesting = 500

// A canonizer reads a valid JSON text and appends each value in its canonical form.
type canonizer struct {
	rest   []byte
	depth  int
	failed bool // an object has a member twice, or the text is nested too deep
}

// skip takes the space before the next token, and returns the byte that this begins with.
func (c *canonizer) skip() byte {
	c.rest = bytes.TrimLeft(c.rest, " \t\r\n")
	return c.rest[0]
}

// take takes the next n bytes.
func (c *canonizer) take(n int) (taken []byte) {
	taken, c.rest = c.rest[:n], c.rest[n:]
	return taken
}

// value appends the next value.
func (c *canonizer) value(b []byte) []byte {
	switch c.skip() {
	case '{':
		return c.nested(b, c.object)
	case '[':
		return c.nested(b, c.array)
	case '"':
		return appendText(b, c.text())
	}
	n := bytes.IndexAny(c.rest, ",]} \t\r\n")
	if n < 0 {
		n = len(c.rest)
	}
	// A word, or a number as it is written: a float cannot tell 9007199254740993 from …992.
	return append(b, c.take(n)...)
}

// nested appends an array or object with its brackets.
func (c *canonizer) nested(b []byte, members func([]byte) []byte) []byte {
	c.depth++
	c.failed = c.failed || c.depth > maxNesting
	b = append(b, c.take(1)...)
	b = members(b)
	c.depth--
	return append(b, c.take(1)...)
}

// array appends the elements of an array.
func (c *canonizer) array(b []byte) []byte {
	for next := c.skip(); next != ']'; next = c.skip() {
		if next == ',' {
			b = append(b, c.take(1)...)
		}
		b = c.value(b)
	}
	return b
}

// object appends the members of an object in the order of their names.
func (c *canonizer) object(b []byte) []byte {
	type member struct {
		name  string
		value []byte
	}
	var members []member
	for next := c.skip(); next != '}'; next = c.skip() {
		if next == ',' {
			c.take(1)
			c.skip()
		}
		name := c.text()
		c.skip()
		c.take(1) // the colon
		members = append(members, member{name, c.value(nil)})
	}
	slices.SortFunc(members, func(m, n member) int { return strings.Compare(m.name, n.name) })
	for i, m := range members {
		if i > 0 {
			c.failed = c.failed || m.name == members[i-1].name
			b = append(b, ',')
		}
		b = append(append(appendText(b, m.name), ':'), m.value...)
	}
	return b
}

// text reads a string.
func (c *canonizer) text() string {
	end := 1
	for escaped := false; c.rest[end] != '"' || escaped; end++ {
		escaped = c.rest[end] == '\\' && !escaped
	}
	quoted := c.take(end + 1)
	if bytes.IndexByte(quoted, '\\') < 0 {
		return string(quoted[1:end])
	}
	var s string
	_ = json.Unmarshal(quoted, &s) // it is valid
	return s
}

// appendText appends s as a string, with no other escapes than JSON demands.
func appendText(b []byte, s string) []byte {
	b = append(b, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c >= ' ':
			b = append(b, c)
		default:
			b = appendControl(b, c)
		}
	}
	return append(b, '"')
}

// appendControl appends a character below U+0020.
func appendControl(b []byte, c byte) []byte {
	if i := strings.IndexByte("\b\f\n\r\t", c); i >= 0 {
		return append(b, '\\', "bfnrt"[i])
	}
	return hex.AppendEncode(append(b, `\u00`...), []byte{c})
}

// hasHalfPair reports whether an escape in a JSON text is half of a surrogate pair, such as \ud800.
// It stands for no character, and readers make different things of it.
func hasHalfPair(text []byte) bool {
	for {
		at := bytes.IndexByte(text, '\\')
		if at < 0 {
			return false
		}
		text = text[at:]
		if text[1] != 'u' {
			text = text[2:]
			continue
		}
		high := unit(text)
		text = text[6:]
		switch {
		case high < 0xd800 || high > 0xdfff:
			continue
		case high > 0xdbff || !bytes.HasPrefix(text, []byte(`\u`)):
			return true
		}
		if low := unit(text); low < 0xdc00 || low > 0xdfff {
			return true
		}
		text = text[6:]
	}
}

// unit reads the code unit of an escape that text begins with.
func unit(text []byte) uint64 {
	n, _ := strconv.ParseUint(string(text[2:6]), 16, 16) // it is valid JSON
	return n
}
