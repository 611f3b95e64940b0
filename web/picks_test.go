package web_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/web"
)

// What is picked of the dead is what is grouped, listed and acted on.
func TestPicksOfTheDead(t *testing.T) {
	s := newSite(t, web.Options{})
	s.worker()
	s.enqueue("bad", `{}`)
	s.shows("/jobs?filter=state:dead", "<b>1</b> match")
	s.has(s.get("/dead?all=yes&type=bad&reason=permanent&since=1h"), "no such file", "state%3Adead&#43;type%3Abad&#43;reason%3Apermanent&#43;age%3A..1h0m0s", `<option value="1h" selected>the last 1h`)
	for _, query := range []string{"reason=expired", "type=other"} {
		if page := s.get("/dead?all=yes&" + query); strings.Contains(page, "no such file") || !strings.Contains(page, "No job is dead of those that are meant") {
			t.Errorf("%s has one that it does not mean:\n%s", query, page)
		}
	}
	if resp, _ := s.ask("GET", "/dead?since=soon", nil); resp.StatusCode != http.StatusBadRequest {
		t.Errorf("since=soon: %s, want 400", resp.Status)
	}
}

// Workers are grouped by what they have in common.
func TestGroupsOfWorkers(t *testing.T) {
	s := newSite(t, web.Options{})
	s.worker()
	s.enqueue("bad", `{}`, millhand.WithQueue("mail"))
	s.shows("/workers?by=queues", `<th scope="rowgroup" colspan="9">default <small>1 worker, 0 of 4 slots used`)
	if page := s.get("/workers"); strings.Contains(page, "rowgroup") {
		t.Error("workers are grouped though nobody asked for that")
	}
	if resp, _ := s.ask("GET", "/workers?by=colour", nil); resp.StatusCode != http.StatusBadRequest {
		t.Errorf("by=colour: %s, want 400", resp.Status)
	}
}
