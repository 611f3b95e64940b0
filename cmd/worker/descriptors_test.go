package main

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/millhand/millhand/internal/configfile"
)

func TestDescriptorsAreCounted(t *testing.T) {
	t.Parallel()
	exec, post := typeConfig{Exec: []string{"true"}}, typeConfig{HTTP: &httpConfig{}}
	for _, tt := range []struct {
		name  string
		types map[string]typeConfig
		limit uint64
		want  string // in the warning; empty: none
	}{
		{"built-in types", nil, 256, ""},
		{"commands", map[string]typeConfig{"a": exec}, 300, "limit=300 needed=1200 concurrency=200"},
		{"commands among others", map[string]typeConfig{"a": post, "b": exec, "c": post}, 1199, "limit=1199 needed=1200 concurrency=200"},
		{"commands with enough", map[string]typeConfig{"a": exec}, 1200, ""},
		{"requests", map[string]typeConfig{"a": post}, 300, "limit=300 needed=400 concurrency=200"},
		{"requests with enough", map[string]typeConfig{"a": post}, 1024, ""},
	} {
		var log bytes.Buffer
		c := config{Concurrency: new(configfile.Count(200)), Types: tt.types}
		c.checkDescriptors(slog.New(slog.NewTextHandler(&log, nil)), tt.limit)
		if got := log.String(); strings.Contains(got, "level=WARN") != (tt.want != "") || !strings.Contains(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}
