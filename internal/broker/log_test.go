package broker

import (
	"bytes"
	"log/slog"
	"testing"
)

func TestServerLog(t *testing.T) {
	var out bytes.Buffer
	l := &serverLog{log: slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	}))}
	l.Noticef("banner")
	l.Warnf("slow %s", "disk")
	l.Errorf("lost %d", 3)
	l.Fatalf("port %d", 1)
	l.Fatalf("disk")

	want := "level=WARN msg=nats-server text=\"slow disk\"\n" +
		"level=ERROR msg=nats-server text=\"lost 3\"\n"
	if got := out.String(); got != want {
		t.Errorf("log = %q, want %q", got, want)
	}
	if got, want := l.fatal().Error(), "port 1\ndisk"; got != want {
		t.Errorf("fatal() = %q, want %q", got, want)
	}
}
