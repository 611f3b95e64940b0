package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/millhand/millhand/internal/bulk"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/view"
)

// A formFunc adds to the form of an operation what an address says.
type formFunc func(context.Context, *visit) error

// readBody makes the form of an operation from the JSON object of a program. Fields that the route does not have are
// refused: one that is misspelt would go unnoticed.
func (v *visit) readBody(ctx context.Context, r *route) error {
	bad := func(text string) error {
		return &problem{status: http.StatusBadRequest, title: "This cannot be read", text: text, hint: "Send a JSON object. " + v.h.base + apiPath + "/openapi.json has its fields."}
	}
	fields, err := readFields(v.r.Body)
	large, isLarge := errors.AsType[*http.MaxBytesError](err)
	switch {
	case isLarge:
		return &problem{status: http.StatusRequestEntityTooLarge, title: "This cannot be read", text: fmt.Sprintf("A body has at most %d bytes.", large.Limit), hint: "Put what is large where the handler can fetch it."}
	case err != nil:
		return bad(err.Error())
	case fields != nil:
		if kind, _, err := mime.ParseMediaType(v.r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
			return &problem{status: http.StatusUnsupportedMediaType, title: "This cannot be read", text: "The body is " + v.r.Header.Get("Content-Type") + ".", hint: "Send it as application/json."}
		}
	}
	form := make(url.Values)
	for name, raw := range fields {
		if !slices.Contains(r.fields, name) {
			return bad("There is no field " + name + " here.")
		}
		text, err := fieldText(name, raw)
		if err != nil {
			return badForm(name, err.Error())
		}
		form.Set(name, text)
	}
	v.r.PostForm, v.r.Form = form, form
	if r.form == nil {
		return nil
	}
	return r.form(ctx, v)
}

// readFields reads one JSON object; it is nil if there is nothing.
func readFields(body io.Reader) (fields map[string]json.RawMessage, err error) {
	d := json.NewDecoder(body)
	switch err := d.Decode(&fields); {
	case errors.Is(err, io.EOF):
		return nil, nil
	case err != nil:
		if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			return nil, fmt.Errorf("want an object, and not %s", wrong.Value)
		}
		return nil, err
	}
	switch _, err := d.Token(); {
	case err == nil:
		return nil, errors.New("there is something behind the object")
	case !errors.Is(err, io.EOF):
		return nil, fmt.Errorf("there is something behind the object: %w", err)
	}
	return fields, nil
}

// rawField is a field that may be any JSON, and is kept as it is.
const rawField = "payload"

// mayBeNumber reports whether a field may be a number; all others are text.
func mayBeNumber(name string) bool {
	switch name {
	case "limit", "max_attempts", "rate", "seq", "total":
		return true
	}
	return false
}

// fieldText is a value as a form has it. What is no number where one may be is refused by whoever reads the form.
func fieldText(name string, raw json.RawMessage) (string, error) {
	if name == rawField {
		return string(raw), nil
	}
	if raw[0] != '"' {
		if !mayBeNumber(name) {
			return "", errors.New("want text")
		}
		return string(raw), nil
	}
	var text string
	err := json.Unmarshal(raw, &text)
	return text, err
}

// fromPath takes fields from the address.
func fromPath(names ...string) formFunc {
	return func(_ context.Context, v *visit) error {
		for _, name := range names {
			v.r.PostForm.Set(name, v.r.PathValue(name))
		}
		return nil
	}
}

// always sets a field.
func always(name, value string) formFunc {
	return func(_ context.Context, v *visit) error {
		v.r.PostForm.Set(name, value)
		return nil
	}
}

func pauseForm(ctx context.Context, v *visit) error {
	if v.r.PostForm.Get("for") == "" {
		v.r.PostForm.Set("for", "0s")
	}
	return fromPath("queue", "type")(ctx, v)
}

// bulkForm needs nobody to type a number: a program has to send it.
func bulkForm(_ context.Context, v *visit) error {
	form := v.r.PostForm
	form.Set("typed", form.Get("total"))
	if form.Get("rate") == "" {
		form.Set("rate", uitoa(bulk.DefaultRate))
	}
	return nil
}

// jobForm names the job of an address as the program saw it or, if it does not say how, as it is.
func (h *Handler) jobForm(word string) formFunc {
	return func(ctx context.Context, v *visit) error {
		p, err := placeOfPath(v)
		if err != nil {
			return err
		}
		form := v.r.PostForm
		form.Set("do", word)
		seen := view.Job{Queue: p.Queue.String(), Type: p.Type.String(), ID: p.ID.String(), Life: form.Get("life")}
		if !h.sees(v.user, place{seen.Queue, seen.Type}) {
			return v.unseen(place{seen.Queue, seen.Type})
		}
		text := strings.TrimSpace(form.Get("seq"))
		if text == "" {
			d, err := h.data.view.Job(ctx, p, "")
			if err != nil {
				return err
			}
			if seen.Life != "" && seen.Life != d.Life {
				return queue.ErrChanged
			}
			form.Set("job", seenAs(&d.Job))
			return nil
		}
		form.Set("job", url.Values{"q": {seen.Queue}, "t": {seen.Type}, "i": {seen.ID}, "l": {seen.Life}, "s": {text}}.Encode())
		return nil
	}
}
