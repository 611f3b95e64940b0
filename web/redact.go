package web

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/filter"
)

// A Redaction says what of jobs is not shown to anybody here, before anything is made of it. What it hides
// cannot be searched for either.
type Redaction struct {
	Keys  []string            // names of values in JSON, at any depth; * stands for any text, and case does not matter
	Types map[string][]string // JSON pointers into payloads and results, such as /card/number, by type
	Meta  []string            // keys of meta

	// Func, if it is not nil, returns what a user may see of a payload or result. It is called after the rest.
	Func func(u User, r millhand.Ref, payload []byte) []byte
}

// hidden stands for what is not shown.
const hidden = "[redacted]"

func (r *Redaction) any() bool { return len(r.Keys)+len(r.Types) > 0 || r.Func != nil }

// payload returns what is shown of a payload. What is no JSON is not shown at all where something of its
// type is to be hidden, or where it has one of the names.
func (r *Redaction) payload(u User, ref millhand.Ref, b []byte) []byte {
	if pointers := r.Types[ref.Type]; len(r.Keys)+len(pointers) > 0 && len(b) > 0 {
		out, ok := r.rewrite(b, pointers)
		switch {
		case ok:
			b = out
		case len(pointers) > 0 || r.mentioned(b):
			b = []byte(hidden)
		}
	}
	if r.Func != nil {
		b = r.Func(u, ref, b)
	}
	return b
}

func (r *Redaction) meta(all map[string]string) map[string]string {
	out := make(map[string]string, len(all))
	for k, v := range all {
		if slices.Contains(r.Meta, k) || r.hidesKey(k) {
			v = hidden
		}
		out[k] = v
	}
	return out
}

func (r *Redaction) hidesKey(name string) bool {
	return slices.ContainsFunc(r.Keys, func(pattern string) bool { return matches(strings.ToLower(pattern), strings.ToLower(name)) })
}

// matches reports whether a name is as a pattern has it, in which * stands for any text.
func matches(pattern, name string) bool {
	first, rest, wild := strings.Cut(pattern, "*")
	name, ok := strings.CutPrefix(name, first)
	if !wild || !ok {
		return ok && name == ""
	}
	for {
		part, more, again := strings.Cut(rest, "*")
		if !again {
			return strings.HasSuffix(name, part)
		}
		at := strings.Index(name, part)
		if at < 0 {
			return false
		}
		name, rest = name[at+len(part):], more
	}
}

// mentioned reports whether one of the names may be in what is no JSON, or is none to the end.
func (r *Redaction) mentioned(b []byte) bool {
	text := strings.ToLower(string(b))
	return slices.ContainsFunc(r.Keys, func(pattern string) bool {
		return !slices.ContainsFunc(strings.Split(strings.ToLower(pattern), "*"), func(part string) bool { return !strings.Contains(text, part) })
	})
}

// maxDepth is how deep values are looked at. What is nested deeper is taken for no JSON.
const maxDepth = 1000

var errDeep = errors.New("nested too deep")

// rewrite copies JSON, numbers digit for digit, with what is hidden replaced; false if it is none.
func (r *Redaction) rewrite(b []byte, pointers []string) ([]byte, bool) {
	w := &rewriter{redaction: r, pointers: pointers, dec: json.NewDecoder(bytes.NewReader(b))}
	w.dec.UseNumber()
	if w.value("") != nil {
		return nil, false
	}
	if _, err := w.dec.Token(); !errors.Is(err, io.EOF) {
		return nil, false
	}
	return w.out.Bytes(), true
}

type rewriter struct {
	redaction *Redaction
	pointers  []string
	dec       *json.Decoder
	out       bytes.Buffer
	silent    int // within a value that is hidden
	depth     int
}

func (w *rewriter) write(s string) {
	if w.silent == 0 {
		w.out.WriteString(s)
	}
}

// value copies a value that is at a pointer.
func (w *rewriter) value(at string) error {
	t, err := w.dec.Token()
	if err != nil {
		return err
	}
	if w.depth++; w.depth > maxDepth {
		return errDeep
	}
	defer func() { w.depth-- }()
	switch t := t.(type) {
	case json.Delim:
		if t == '{' {
			return w.object(at)
		}
		return w.array(at)
	case json.Number:
		w.write(t.String())
	default:
		b, err := json.Marshal(t)
		if err != nil {
			return err
		}
		w.write(string(b))
	}
	return nil
}

func (w *rewriter) object(at string) error {
	w.write("{")
	for i := 0; w.dec.More(); i++ {
		t, err := w.dec.Token()
		if err != nil {
			return err
		}
		key, _ := t.(string)
		quoted, err := json.Marshal(key)
		if err != nil {
			return err
		}
		if i > 0 {
			w.write(",")
		}
		w.write(string(quoted) + ":")
		if err := w.member(at+"/"+strings.NewReplacer("~", "~0", "/", "~1").Replace(key), key); err != nil {
			return err
		}
	}
	w.write("}")
	_, err := w.dec.Token()
	return err
}

func (w *rewriter) array(at string) error {
	w.write("[")
	for i := 0; w.dec.More(); i++ {
		if i > 0 {
			w.write(",")
		}
		if err := w.member(at+"/"+strconv.Itoa(i), ""); err != nil {
			return err
		}
	}
	w.write("]")
	_, err := w.dec.Token()
	return err
}

// member copies what is in an object or array, or what stands for it.
func (w *rewriter) member(at, key string) error {
	if !slices.Contains(w.pointers, at) && (key == "" || !w.redaction.hidesKey(key)) {
		return w.value(at)
	}
	w.write(strconv.Quote(hidden))
	w.silent++
	err := w.value(at)
	w.silent--
	return err
}

// searchable refuses a filter about what whoever asks may not see: what it finds would tell.
func (v *visit) searchable(f filter.Filter) error {
	for i := range f.Terms {
		t := &f.Terms[i]
		inPayload := t.Key == filter.Payload || t.Key == filter.Word
		switch {
		case (inPayload || t.Key == filter.Error || t.Key == filter.Meta) && !v.h.may(v.user, MayPayload):
			return &problem{status: 403, title: "You may not search for this", text: string(t.Key) + ": this needs the permission \"payload\"; you are " + v.user.Name + ", " + v.user.Role + "."}
		case inPayload && v.h.opts.Redact.any():
			return &problem{status: 403, title: "Payloads cannot be searched here", text: "Parts of them are not shown, and a search would tell what they are."}
		case t.Key == filter.Meta && (slices.Contains(v.h.opts.Redact.Meta, t.Name) || v.h.opts.Redact.hidesKey(t.Name)):
			return &problem{status: 403, title: "This cannot be searched here", text: "meta." + t.Name + " is not shown."}
		}
	}
	return nil
}
