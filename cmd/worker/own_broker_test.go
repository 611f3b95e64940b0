package main

import (
	"log/slog"
	"math"
	"strings"
	"testing"
)

func TestLittleMemoryForABrokerIsTold(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		limit int64
		want  string // in the log; empty: nothing is logged
	}{
		"container of 96 MiB":  {limit: 72 << 20, want: "memory_limit_mib=72"},
		"container of 384 MiB": {limit: (384 << 20) * 9 / 10},
		"no limit":             {limit: math.MaxInt64},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log strings.Builder
			p := &process{log: slog.New(slog.NewTextHandler(&log, nil))}
			p.checkMemory(tt.limit)
			if (log.Len() > 0) != (tt.want != "") || !strings.Contains(log.String(), tt.want) {
				t.Errorf("logged %q, want %q", log.String(), tt.want)
			}
		})
	}
}
