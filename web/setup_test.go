package web_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/millhand/millhand/web"
)

// The broker's page says whether it is set up as it has to be, to whoever may have that looked for.
func TestSetup(t *testing.T) {
	s := newSite(t, web.Options{Auth: byHeader})
	s.enqueue("mail", `{}`)
	for role, want := range map[string]bool{"viewer": false, "operator": true} {
		body := send(t, s.handler, "GET", "/broker", nil, as(role)).Body.String()
		if strings.Contains(body, "S01") != want || strings.Contains(body, "state ok") != want {
			t.Errorf("the setup is shown to a %s: %v, want %v\n%s", role, !want, want, body)
		}
		if resp, _ := s.ask("GET", "/api/v1/verify", nil, as(role)); (resp.StatusCode == http.StatusOK) != want {
			t.Errorf("a %s is told of it: %s", role, resp.Status)
		}
	}
}
