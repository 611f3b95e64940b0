package web_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/jsonschema-go/jsonschema"

	"github.com/millhand/millhand/web"
)

// An apiDoc is what the document says, as far as tests look.
type apiDoc struct {
	Paths      map[string]map[string]json.RawMessage
	Components struct {
		Schemas map[string]*jsonschema.Schema
	}
	resolved map[string]*jsonschema.Resolved // by what they refer to
}

// An apiOp is one route of the document.
type apiOp struct {
	Permission  web.Permission `json:"x-permission"`
	RequestBody *struct {
		Content map[string]struct{ Schema jsonschema.Schema }
	} `json:"requestBody"`
	Responses map[string]struct {
		Content map[string]struct{ Schema *jsonschema.Schema }
	}
}

func readDoc(t *testing.T, text []byte) (d apiDoc) {
	t.Helper()
	text = bytes.ReplaceAll(text, []byte("#/components/schemas/"), []byte("#/$defs/")) // as the validator finds them
	d.resolved = make(map[string]*jsonschema.Resolved)
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// operations are all routes of the document, by method and path below the API.
func (d *apiDoc) operations(t *testing.T) map[string]apiOp {
	t.Helper()
	all := make(map[string]apiOp)
	for path, item := range d.Paths {
		for method, text := range item {
			if method == "parameters" {
				continue
			}
			var o apiOp
			if err := json.Unmarshal(text, &o); err != nil {
				t.Fatal(err)
			}
			all[strings.ToUpper(method)+" "+path] = o
		}
	}
	return all
}

// The document has the routes that there are, with their permissions and fields.
func TestOpenAPIHasTheRoutes(t *testing.T) {
	s := newSite(t, web.Options{})
	d := readDoc(t, []byte(s.get("/api/v1/openapi.json")))
	want, got := make(map[string]string), make(map[string]string)
	for _, r := range s.handler.Routes() {
		if path, ok := strings.CutPrefix(r.Path, "/api/v1"); ok {
			want[r.Method+" "+path] = fmt.Sprint(r.May, " ", slices.Sorted(slices.Values(r.Fields)))
		}
	}
	for name, o := range d.operations(t) {
		var fields []string
		if o.RequestBody != nil {
			fields = slices.Sorted(maps.Keys(o.RequestBody.Content["application/json"].Schema.Properties))
		}
		got[name] = fmt.Sprint(o.Permission, " ", fields)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("routes (-there are +documented):\n%s", diff)
	}
}

// What the command prints, too, is described alike.
func TestOpenAPISharesSchemas(t *testing.T) {
	read := func(name, defs string) (all map[string]any) {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var doc struct {
			Defs       map[string]any `json:"$defs"`
			Components struct{ Schemas map[string]any }
		}
		if err := json.Unmarshal(bytes.ReplaceAll(text, []byte(defs), []byte("#")), &doc); err != nil {
			t.Fatal(err)
		}
		if doc.Defs != nil {
			return doc.Defs
		}
		return doc.Components.Schemas
	}
	command, shared := read("../docs/schemas/millhand.json", "#/$defs/"), 0
	for name, schema := range read("openapi.json", "#/components/schemas/") {
		if of := command[name]; of != nil {
			shared++
			if diff := cmp.Diff(of, schema); diff != "" {
				t.Errorf("%s (-docs/schemas/millhand.json +openapi.json):\n%s", name, diff)
			}
		}
	}
	if shared < 30 {
		t.Errorf("%d schemas are shared", shared)
	}
}

// answerSchema is of what a route answers, with nothing in its objects that is not told.
func (d *apiDoc) answerSchema(t *testing.T, o *apiOp, status string) *jsonschema.Resolved {
	t.Helper()
	content := o.Responses[status].Content["application/json"]
	if content.Schema == nil {
		return nil
	}
	if known := d.resolved[content.Schema.Ref]; known != nil {
		return known
	}
	defs := make(map[string]*jsonschema.Schema)
	for name, part := range d.Components.Schemas {
		defs[name] = part
		strict(part)
	}
	root := *content.Schema
	root.Defs = defs
	r, err := root.Resolve(nil)
	if err != nil {
		t.Fatal(err)
	}
	d.resolved[content.Schema.Ref] = r
	return r
}

func strict(s *jsonschema.Schema) {
	if s == nil {
		return
	}
	if s.Properties != nil && s.AdditionalProperties == nil {
		s.AdditionalProperties = &jsonschema.Schema{Not: &jsonschema.Schema{}}
	}
	for _, part := range slices.Concat(slices.Collect(maps.Values(s.Properties)), s.AnyOf, []*jsonschema.Schema{s.Items}) {
		strict(part)
	}
}

func mustRead(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A met is the API as a program uses it: each answer is checked by the document.
type met struct {
	*site
	doc    apiDoc
	ops    map[string]apiOp
	seen   map[string]bool
	change func(*http.Request) // who asks
}

// call asks a route with the names in its path filled in, and returns the answer.
func (m *met) call(route, path string, body any, want int) map[string]any {
	m.Helper()
	o, ok := m.ops[route]
	if !ok {
		m.Fatalf("the document has no %s", route)
	}
	method, _, _ := strings.Cut(route, " ")
	resp, text := m.ask(method, "/api/v1"+path, nil, func(r *http.Request) {
		m.change(r)
		if body == nil {
			return
		}
		b, err := json.Marshal(body)
		if err != nil {
			m.Fatal(err)
		}
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(b)), int64(len(b))
		r.Header.Set("Content-Type", "application/json")
	})
	if resp.StatusCode != want {
		m.Errorf("%s %s: %s, want %d\n%s", method, path, resp.Status, want, text)
		return nil
	}
	status := "200"
	if want != http.StatusOK {
		status = "default"
	}
	m.seen[route+" "+status] = true
	schema := m.doc.answerSchema(m.T, &o, status)
	if schema == nil {
		return nil
	}
	var answer any
	if err := json.Unmarshal([]byte(text), &answer); err != nil {
		m.Fatalf("%s: %v\n%s", route, err, text)
	}
	if err := schema.Validate(answer); err != nil {
		m.Errorf("%s: %v\n%s", route, err, text)
	}
	if at := regexp.MustCompile(`"\d{4}-\d\d-\d\dT[0-9:.]+[+-]\d\d:\d\d"`).FindString(text); at != "" {
		m.Errorf("%s: a time that is not UTC: %s", route, at)
	}
	object, _ := answer.(map[string]any)
	return object
}
