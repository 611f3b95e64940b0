package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

func TestJoinDuration(t *testing.T) {
	t.Parallel()
	fs := pflag.NewFlagSet("enqueue", pflag.ContinueOnError)
	fs.StringP("queue", "q", "", "")
	fs.String("id", "", "")
	fs.String("from", "", "")
	fs.BoolP("verbose", "v", false, "")
	fs.Var(new(waitFlag), "wait", "")
	fs.Lookup("wait").NoOptDefVal = waitForever
	for _, tt := range []struct{ args, want string }{
		// A duration.
		{"email --wait 5s", "email --wait=5s"},
		{"--wait 5s email", "--wait=5s email"},
		{"email --wait 1m30s {}", "email --wait=1m30s {}"},
		{"email {} --wait 5s", "email {} --wait=5s"},
		{"-q critical email --wait 5s", "-q critical email --wait=5s"},
		{"--from jobs.ndjson --wait 5s", "--from jobs.ndjson --wait=5s"},
		{"--wait 5s --from=-", "--wait=5s --from=-"},
		{"email --wait 0s", "email --wait=0s"}, // which is refused
		{"5s --wait 10s", "5s --wait=10s"},     // a type with such a name
		{"-vq critical email --wait 5s -v", "-vq critical email --wait=5s -v"},
		// No duration: the payload, another flag, nothing.
		{"email --wait", "email --wait"},
		{"email --wait=5s", "email --wait=5s"},
		{"email --wait {}", "email --wait {}"},
		{"email --wait @5s", "email --wait @5s"},
		{"email --wait -", "email --wait -"},
		{"email --wait 0", "email --wait 0"}, // JSON
		{"email --wait 5", "email --wait 5"}, // JSON
		{`email --wait "5s"`, `email --wait "5s"`},
		{"email --wait -q critical", "email --wait -q critical"},
		{"email --wait -5s", "email --wait -5s"},
		// The type: a job needs one.
		{"--wait 5s", "--wait 5s"},
		{"--wait 5s {}", "--wait 5s {}"},
		{"--wait -q critical 5s", "--wait -q critical 5s"},
		{"-q email --wait 5s", "-q email --wait 5s"},
		{"-qemail --wait 5s", "-qemail --wait 5s"},
		// Not the flag: another one's value, or after the end of flags.
		{"email --id --wait 5s", "email --id --wait 5s"},
		{"email -- --wait 5s", "email -- --wait 5s"},
		{"-- email --wait 5s", "-- email --wait 5s"},
		{"__complete email --wait 5s", "__complete email --wait 5s"},
		{"", ""},
	} {
		args := strings.Fields(tt.args)
		if got := joinDuration(fs, args, "--wait"); !slices.Equal(got, strings.Fields(tt.want)) {
			t.Errorf("%q: %q, want %q", tt.args, got, tt.want)
		}
	}
}
