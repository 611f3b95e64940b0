package filter

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxLength of a filter's text, in bytes: it may be a part of an URL.
const maxLength = 4096

// Parse reads a filter. Its errors say which term is wrong, and how it is written.
func Parse(text string) (Filter, error) {
	if len(text) > maxLength {
		return Filter{}, fmt.Errorf("the filter has %d bytes, and at most %d are read", len(text), maxLength)
	}
	p := &parser{rest: text}
	var f Filter
	for p.skipSpace(); p.rest != ""; p.skipSpace() {
		from := p.rest
		t, err := p.term()
		if err != nil {
			return Filter{}, fmt.Errorf("%s: %w", shown(from[:len(from)-len(p.rest)]), err)
		}
		f.Terms = append(f.Terms, t)
	}
	return f, nil
}

// ParseArgs reads a filter whose terms are the arguments of a command. The quotes around a value with
// spaces may be missing then, since the shell has taken them.
func ParseArgs(args []string) (Filter, error) {
	var all Filter
	for _, arg := range args {
		f, err := Parse(withShellQuotes(arg))
		if err != nil {
			return Filter{}, err
		}
		if len(f.Terms) > 1 && f.Terms[0].Key != Word && f.Has(Word) {
			return Filter{}, fmt.Errorf("%s: the shell has taken the quotes around a value; put others around the whole term, such as '%s'",
				shown(arg), `error:"connection refused"`)
		}
		all.Terms = append(all.Terms, f.Terms...)
	}
	if text := all.String(); len(text) > maxLength {
		return Filter{}, fmt.Errorf("the filter has %d bytes, and at most %d are read", len(text), maxLength)
	}
	return all, nil
}

// withShellQuotes puts quotes around the value of an argument that is one term about a text, with spaces
// in it and nothing that could be another term.
func withShellQuotes(arg string) string {
	key, value, ok := strings.Cut(arg, ":")
	k, name, err := keyOf(strings.TrimPrefix(key, "-"))
	if !ok || err != nil || (k != Error && k != Payload && name == "") || !strings.ContainsFunc(value, unicode.IsSpace) || strings.Contains(value, `"`) {
		return arg
	}
	for word := range strings.FieldsSeq(value) {
		if before, _, ok := strings.Cut(strings.TrimPrefix(word, "-"), ":"); ok {
			if _, _, err := keyOf(before); err == nil {
				return arg
			}
		}
	}
	return key + ":" + quoted(value)
}

type parser struct{ rest string }

func (p *parser) skipSpace() { p.rest = strings.TrimLeftFunc(p.rest, unicode.IsSpace) }

// take cuts off and returns what comes before the first rune that end reports, all if there is none.
func (p *parser) take(end func(rune) bool) string {
	n := strings.IndexFunc(p.rest, end)
	if n < 0 {
		n = len(p.rest)
	}
	taken := p.rest[:n]
	p.rest = p.rest[n:]
	return taken
}

// skip cuts off c if it is next, and reports whether it was.
func (p *parser) skip(c string) (ok bool) {
	p.rest, ok = strings.CutPrefix(p.rest, c)
	return ok
}

func (p *parser) term() (t Term, err error) {
	t.Negated = p.skip("-")
	if t.Key, t.Name, err = p.key(); err != nil {
		return t, err
	}
	if t.Negated && (t.Key == Since || t.Key == Until) {
		return t, fmt.Errorf("it cannot be negated: %s and %s are each other's opposite", Since, Until)
	}
	for {
		v, err := p.value(t.Key)
		if err != nil {
			return t, err
		}
		t.Values = append(t.Values, v)
		if !p.skip(",") {
			break
		}
	}
	if len(t.Values) > 1 && (t.Key == Since || t.Key == Until) {
		return t, errors.New("it takes one time")
	}
	return t, nil
}

// key reads the key of a term, which a word by itself has none of.
func (p *parser) key() (k Key, name string, err error) {
	before := p.rest
	written := p.take(func(r rune) bool { return r == ':' || r == '"' || endsWord(r) })
	if !p.skip(":") {
		p.rest = before
		return Word, "", nil
	}
	if k, name, err = keyOf(written); err != nil {
		p.take(endsWord) // for the error
	}
	return k, name, err
}

// keyOf returns the key that is written so.
func keyOf(written string) (k Key, name string, err error) {
	if name, ok := strings.CutPrefix(written, string(Meta)+"."); ok && name != "" {
		return Meta, name, nil
	}
	if written == string(Meta) || written == string(Meta)+"." {
		return "", "", fmt.Errorf("%s needs the key of the metadata: %s.customer:42", Meta, Meta)
	}
	var names []string
	for _, k := range Keys() {
		if string(k) == written {
			return k, "", nil
		}
		names = append(names, string(k))
	}
	if near := Nearest(written, names); near != "" {
		return "", "", fmt.Errorf("unknown key %q; did you mean %s?", written, near)
	}
	return "", "", fmt.Errorf("unknown key %q; there are %s; a value with a colon in it is quoted", written, strings.Join(names, " "))
}

// value reads one value. What is wrong with it is told after it is read, for the error to show it.
func (p *parser) value(k Key) (Value, error) {
	if p.skip(`"`) {
		text, err := p.quoted()
		if err != nil {
			return Value{}, err
		}
		v := Value{Text: text}
		if p.skip(string(Prefix)) {
			v.Op = Prefix
		}
		if next, _ := utf8.DecodeRuneInString(p.rest); p.rest != "" && !endsWord(next) {
			p.take(endsWord)
			return Value{}, errors.New("something follows a quoted value without a space")
		}
		return newValue(k, v, true)
	}
	word := p.take(endsWord)
	switch {
	case word == "":
		return Value{}, errors.New(`it has no value; "" is an empty one`)
	case strings.Contains(word, `"`):
		return Value{}, errors.New("a quote inside a word; quote the whole value")
	}
	return newValue(k, split(word, k), false)
}

// quoted reads up to the closing quote, of which the opening one is read.
func (p *parser) quoted() (string, error) {
	var b strings.Builder
	for {
		b.WriteString(p.take(func(r rune) bool { return r == '"' || r == '\\' }))
		if p.skip(`"`) {
			return b.String(), nil
		}
		if !p.skip(`\`) {
			return "", errors.New("a quote is not closed")
		}
		if !strings.HasPrefix(p.rest, `"`) && !strings.HasPrefix(p.rest, `\`) {
			return "", errors.New(`in quotes a backslash stands before " or \ only`)
		}
		b.WriteByte(p.rest[0])
		p.rest = p.rest[1:]
	}
}

// shown is a part of a filter in an error, which has room for the beginning.
func shown(part string) string {
	const most = 60
	part = strings.TrimSpace(part)
	if len(part) > most {
		part = strings.ToValidUTF8(part[:most], "") + "…"
	}
	if part == "" || strings.ContainsFunc(part, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return fmt.Sprintf("%q", part)
	}
	return part
}
