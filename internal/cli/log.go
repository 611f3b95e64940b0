package cli

import (
	"fmt"
	"io"
	"log/slog"

	"github.com/spf13/pflag"
)

// LogFlags are the flags --log-format and --log-level.
type LogFlags struct {
	format logFormat
	level  slog.Level
}

// Register adds the flags to fs.
func (f *LogFlags) Register(fs *pflag.FlagSet) {
	f.format = formatText
	fs.Var(&f.format, "log-format", "write logs as `text` or json")
	fs.TextVar(&f.level, "log-level", slog.LevelInfo, "least `level` to log: debug, info, warn or error")
}

// Logger returns the logger the flags ask for.
func (f *LogFlags) Logger(w io.Writer) *slog.Logger {
	opts := &slog.HandlerOptions{Level: f.level}
	if f.format == formatJSON {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}

// logFormat implements [pflag.Value], so that a wrong format is an error that names the flag.
type logFormat string

const (
	formatText logFormat = "text"
	formatJSON logFormat = "json"
)

func (f *logFormat) String() string { return string(*f) }

func (f *logFormat) Type() string { return "format" }

func (f *logFormat) Set(s string) error {
	switch v := logFormat(s); v {
	case formatText, formatJSON:
		*f = v
		return nil
	default:
		return fmt.Errorf("must be %s or %s", formatText, formatJSON)
	}
}
