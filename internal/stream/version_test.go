package stream

import (
	"strings"
	"testing"
)

func TestWhichServersAreTooOld(t *testing.T) {
	for _, c := range []struct {
		name   string
		server Server
		tooOld bool
	}{
		{"2.10, which has no level", Server{Version: "2.10.29", Level: 0}, true},
		{"2.10 by its version alone", Server{Version: "2.10.29", Level: -1}, true},
		{"2.11 by its answer", Server{Version: "2.11.17", Level: 1}, true},
		{"2.12 has schedules, and not the rest", Server{Version: "2.12.15", Level: 2}, true},
		{"2.12 by its version alone", Server{Version: "2.12.15", Level: -1}, true},
		{"a level alone", Server{Level: 3}, true},
		{"2.14", Server{Version: "2.14.0", Level: 4}, false},
		{"2.14 by its version alone", Server{Version: "2.14.0", Level: -1}, false},
		{"a candidate", Server{Version: "2.14.0-RC.1", Level: 4}, false},
		{"a candidate without a patch number", Server{Version: "v2.14-dev", Level: -1}, false},
		{"2.15", Server{Version: "2.15.2", Level: 5}, false},
		{"3.0", Server{Version: "3.0.0", Level: -1}, false},
		{"1.4", Server{Version: "1.4.1", Level: -1}, true},
		{"the level counts more than the version", Server{Version: "1.0.0-fork", Level: 5}, false},
		{"nothing known", Server{Level: -1}, false},
		{"a version that is none", Server{Version: "main", Level: -1}, false},
		{"a proxy's", Server{Version: "edge.7", Level: -1}, false},
	} {
		err := c.server.Check()
		if (err != nil) != c.tooOld {
			t.Errorf("%s: %v, want too old: %t", c.name, err, c.tooOld)
		}
		if err != nil && !strings.Contains(err.Error(), needVersion) {
			t.Errorf("%s: %q does not say which version is needed", c.name, err)
		}
		if v := c.server.Version; err != nil && !strings.Contains(err.Error(), v) {
			t.Errorf("%s: %q does not say which version was found", c.name, err)
		}
	}
}

func TestASubjectIsCovered(t *testing.T) {
	for _, c := range []struct {
		filter, subject string
		want            bool
	}{
		{"a.q.ready.*.*", "a.q.ready.*.*", true},
		{"a.>", "a.q.ready.*.*", true},
		{"a.q.*.*.*", "a.q.ready.*.*", true},
		{">", "$KV.b.>", true},
		{"$KV.b.>", "$KV.b.>", true},
		{"a.q.ready.*.*", "a.q.later.*.*", false},
		{"a.q.ready.*.x", "a.q.ready.*.*", false},
		{"a.q.ready.*", "a.q.ready.*.*", false},
		{"a.q.ready.*.*.*", "a.q.ready.*.*", false},
		{"a.*", "a.>", false},
		{"a.>", "a", false},
	} {
		if got := covers(c.filter, c.subject); got != c.want {
			t.Errorf("covers(%q, %q) = %t, want %t", c.filter, c.subject, got, c.want)
		}
	}
}
