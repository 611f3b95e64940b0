package web

import (
	"bytes"
	"embed"
	"fmt"
	"hash/fnv"
	"html/template"
	"net/http"
	"strings"
)

//go:embed templates/*.html
var templateFiles embed.FS

// pages are all templates: one file for each page, and what they share.
type pages struct{ all *template.Template }

func loadPages() (*pages, error) {
	t, err := template.New("").Funcs(functions()).ParseFS(templateFiles, "templates/*.html")
	if err != nil {
		return nil, fmt.Errorf("web: templates: %w", err)
	}
	return &pages{t}, nil
}

// A page is what a template makes of data. It is drawn within the frame.
type page struct {
	title    string
	section  string // of the navigation
	template string
	data     any
	charts   bool // it has some
	ended    bool // it changes no more: nothing is sent after it
}

// A drawing is what templates are given: the data as D, and who it is drawn for. Within templates it is
// $, and its methods are what they call.
type drawing struct {
	*visit

	D     any
	Page  *page
	parts *[]part // that were drawn; shared by all of a page
}

// A part is a piece of a page that is drawn alike within the page and as an update of it.
type part struct {
	id   string
	html string
	sum  uint64
}

// With is the drawing of something else for the same visit, for a template within another.
func (d *drawing) With(data any) *drawing {
	other := *d
	other.D = data
	return &other
}

// Part draws a template as a part of the page, below an id of its own.
func (d *drawing) Part(id, name string, data any) (template.HTML, error) {
	var b bytes.Buffer
	if err := d.h.pages.all.ExecuteTemplate(&b, name, d.With(data)); err != nil {
		return "", err
	}
	p := part{id: id, html: b.String()}
	h := fnv.New64a()
	_, _ = h.Write(b.Bytes()) // a hash takes all
	p.sum = h.Sum64()
	*d.parts = append(*d.parts, p)
	// What is in it was escaped when it was drawn; an id is a constant of a template, or a checked name.
	return template.HTML(`<div class="part" id="` + template.HTMLEscapeString(id) + `">` + p.html + `</div>`), nil //nolint:gosec // see above
}

// Body draws the page within its frame.
func (d *drawing) Body() (template.HTML, error) {
	var b bytes.Buffer
	if err := d.h.pages.all.ExecuteTemplate(&b, d.Page.template, d.With(d.Page.data)); err != nil {
		return "", err
	}
	return template.HTML(b.String()), nil //nolint:gosec // it was escaped when it was drawn
}

// draw draws a page within the frame, and returns its parts as well.
func (v *visit) draw(p *page) (whole []byte, parts []part, err error) {
	f := v.frame(p)
	d := &drawing{visit: v, Page: p, parts: &parts, D: f}
	var b bytes.Buffer
	err = v.h.pages.all.ExecuteTemplate(&b, "frame", d)
	return b.Bytes(), parts, err
}

// show answers with a page.
func (v *visit) show(p *page, status int) error {
	whole, _, err := v.draw(p)
	if err != nil {
		return fmt.Errorf("draw %s: %w", p.template, err)
	}
	v.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	out, end := v.compressed(v.w)
	defer end()
	v.w.WriteHeader(status)
	if v.r.Method != http.MethodHead {
		_, _ = out.Write(whole) // the browser went away
	}
	return nil
}

// asUpdate is a part as htmx takes it: morphed into what has its id.
func (p *part) asUpdate(b *strings.Builder) {
	b.WriteString(`<hx-partial hx-target="#`)
	b.WriteString(template.HTMLEscapeString(p.id))
	b.WriteString(`" hx-swap="innerMorph">`)
	b.WriteString(p.html)
	b.WriteString("</hx-partial>\n")
}
