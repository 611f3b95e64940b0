package cli

import (
	"runtime/debug"
	"testing"
)

func TestVersion(t *testing.T) {
	t.Parallel()
	build := func(version string, settings ...debug.BuildSetting) *debug.BuildInfo {
		return &debug.BuildInfo{GoVersion: "go1.26.8", Main: debug.Module{Version: version}, Settings: settings}
	}
	commit := debug.BuildSetting{Key: "vcs.revision", Value: "c3a984f0123456789abcdef0123456789abcdef0"}
	at := debug.BuildSetting{Key: "vcs.time", Value: "2026-11-28T19:00:00Z"}
	dirty := debug.BuildSetting{Key: "vcs.modified", Value: "true"}
	clean := debug.BuildSetting{Key: "vcs.modified", Value: "false"}
	for _, tt := range []struct {
		set  string
		info *debug.BuildInfo
		want string
	}{
		{"", build("v1.2.3"), "v1.2.3 (go1.26.8)"},
		{"", build("(devel)", commit, at, clean), "devel (commit c3a984f01234, 2026-11-28T19:00:00Z, go1.26.8)"},
		{"", build("(devel)", commit, at, dirty), "devel (commit c3a984f01234, 2026-11-28T19:00:00Z, with local changes, go1.26.8)"},
		{"v9.9.9", build("v1.2.3", commit), "v9.9.9 (commit c3a984f01234, go1.26.8)"},
		{"v9.9.9", nil, "v9.9.9"},
		{"", nil, "unknown"},
		{"", build("", debug.BuildSetting{Key: "vcs.revision", Value: "c3"}), "unknown (commit c3, go1.26.8)"},
	} {
		if got := versionOf(tt.set, tt.info); got != tt.want {
			t.Errorf("versionOf(%q, %+v) = %q, want %q", tt.set, tt.info, got, tt.want)
		}
	}
}
