package cli

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

func TestLogFlags(t *testing.T) {
	tests := map[string]struct {
		args []string
		want string // what is left of the log, without its time
	}{
		"default":     {nil, "level=INFO msg=in n=1\n"},
		"debug":       {[]string{"--log-level", "debug"}, "level=DEBUG msg=de n=1\nlevel=INFO msg=in n=1\n"},
		"json, error": {[]string{"--log-format=json", "--log-level=ERROR"}, ""},
		"json":        {[]string{"--log-format=json"}, `"level":"INFO","msg":"in","n":1}` + "\n"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var f LogFlags
			fs := pflag.NewFlagSet("", pflag.ContinueOnError)
			f.Register(fs)
			if err := fs.Parse(tt.args); err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			log := f.Logger(&out)
			log.Debug("de", slog.Int("n", 1))
			log.Info("in", slog.Int("n", 1))

			var got strings.Builder
			for line := range strings.Lines(out.String()) {
				got.WriteString(line[strings.IndexAny(line, " ,")+1:]) // after the time
			}
			if got.String() != tt.want {
				t.Errorf("log = %q, want %q", got.String(), tt.want)
			}
		})
	}
}

func TestLogFlagsRejectBadValues(t *testing.T) {
	for _, arg := range []string{"--log-format=xml", "--log-level=loud"} {
		var f LogFlags
		fs := pflag.NewFlagSet("", pflag.ContinueOnError)
		f.Register(fs)
		flag, _, _ := strings.Cut(arg, "=")
		if err := fs.Parse([]string{arg}); err == nil || !strings.Contains(err.Error(), flag) {
			t.Errorf("Parse(%s) = %v, want an error that names %s", arg, err, flag)
		}
	}
}

func TestColor(t *testing.T) {
	if IsTerminal(&bytes.Buffer{}) || Color(&bytes.Buffer{}) {
		t.Error("a buffer is taken for a terminal")
	}
}
