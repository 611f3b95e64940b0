package tracing

import (
	"testing"

	"pgregory.net/rapid"
)

// A traceparent is read as OpenTelemetry reads it.
func TestParseParent(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.OneOf(
			rapid.StringMatching(`00-[0-9a-f]{32}-[0-9a-f]{16}-0[0-4]`),
			rapid.StringMatching(`0[0-9a-f]-[0-9a-fA-F]{30,34}-[0-9a-g]{15,17}-[0-9a-f]{2}(-x)?`),
			rapid.Just("00-00000000000000000000000000000000-b7ad6b7169203331-01"),
			rapid.Just("00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01"),
			rapid.String(),
		).Draw(t, "traceparent")
		got, want := parseParent(s), extractAll(map[string]string{traceParent: s})
		if got.IsValid() != want.IsValid() || got.IsValid() && !got.Equal(want) {
			t.Errorf("%q is %+v, want %+v", s, got, want)
		}
		if got.IsValid() && s[:3] == "00-" && parentOf(got) != s {
			t.Errorf("%q is written as %q", s, parentOf(got))
		}
	})
}
