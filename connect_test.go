package millhand_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
)

func emailMux() *millhand.Mux {
	mux := millhand.NewMux()
	millhand.Handle(mux, func(context.Context, *millhand.Job[email]) error { return nil })
	return mux
}

// A connection that buffers acknowledgements or gives up in an outage is none for a worker,
// which says what to change; that of ConnectOptions is.
func TestConnectionOfAWorker(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		forever, unbuffered := nats.MaxReconnects(-1), nats.ReconnectBufSize(-1)
		for name, tt := range map[string]struct {
			options []nats.Option
			want    string // in the error; empty for none
		}{
			"as nats.go has it":   {nil, "gives up after 60 attempts to reconnect"},
			"buffers by default":  {[]nats.Option{forever}, "buffers 8388608 bytes while it is disconnected"},
			"buffers a little":    {[]nats.Option{forever, nats.ReconnectBufSize(1)}, "add nats.ReconnectBufSize(-1)"},
			"gives up":            {[]nats.Option{unbuffered, nats.MaxReconnects(3)}, "add nats.MaxReconnects(-1)"},
			"never reconnects":    {[]nats.Option{unbuffered, forever, nats.NoReconnect()}, "does not reconnect"},
			"by hand":             {[]nats.Option{unbuffered, forever}, ""},
			"by ConnectOptions":   {millhand.ConnectOptions(nil), ""},
			"something spoilt it": {append(millhand.ConnectOptions(nil), nats.MaxReconnects(0)), "connect with millhand.ConnectOptions"},
		} {
			nc, err := nats.Connect("", append(tt.options, nats.InProcessServer(s))...)
			if err != nil {
				t.Fatal(err)
			}
			_, err = millhand.NewWorker(nc, millhand.WorkerConfig{Mux: emailMux()})
			switch {
			case tt.want == "" && err != nil:
				t.Errorf("%s: %v", name, err)
			case tt.want != "" && (!errors.Is(err, millhand.ErrInvalid) || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("%s: error %v, want an ErrInvalid with %q", name, err, tt.want)
			}
			if _, err := millhand.NewClient(nc, millhand.Config{}); err != nil {
				t.Errorf("%s: a client may buffer and give up: %v", name, err)
			}
			nc.Close()
		}
	})
}

// The connection says in the log what happens to it, and outlives an outage of any length.
func TestConnectOptionsOutliveAnOutage(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		var text logged
		log := slog.New(slog.NewTextHandler(&text, nil))
		nc, err := nats.Connect("", append(millhand.ConnectOptions(log), nats.InProcessServer(s))...)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		s.Stop()
		time.Sleep(24 * time.Hour)
		if err := nc.Publish("a", nil); !errors.Is(err, nats.ErrReconnectBufExceeded) {
			t.Errorf("Publish without a server: %v, want that nothing is kept", err)
		}
		s.Start(t)
		time.Sleep(5 * time.Second)
		if !nc.IsConnected() {
			t.Errorf("the connection is %v", nc.Status())
		}
		for _, want := range []string{"server lost, reconnecting", "server found again"} {
			if strings.Count(text.String(), want) != 1 {
				t.Errorf("the log has not one line with %q:\n%s", want, text.String())
			}
		}
	})
}
