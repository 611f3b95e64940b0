package stream

import (
	"context"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand/internal/natstest"
)

// A scene is a client over a link that a test can break, and another that nothing befalls.
type scene struct {
	t      *testing.T
	ctx    context.Context //nolint:containedctx // a scene has one, which ends with the test
	link   *natstest.Link
	client *Client // over link
	other  *Client
	log    *log
}

// inScene is a test in a scene, with a stream S of the subjects s.>.
func inScene(t *testing.T, f func(s *scene)) {
	t.Helper()
	natstest.Bubble(t, func(t *testing.T, server *natstest.Server) {
		s := &scene{t: t, ctx: t.Context(), link: server.Link(), log: &log{out: t.Output()}}
		s.client, s.other = s.open(s.link.Connect(t)), s.open(server.Link().Connect(t))
		if err := s.makeStream(s.ctx); err != nil {
			t.Fatal(err)
		}
		f(s)
	})
}

func (s *scene) open(nc *nats.Conn) *Client {
	s.t.Helper()
	c, err := New(nc, Config{Logger: natstest.Logger(s.log)})
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

func (s *scene) makeStream(ctx context.Context) error {
	_, _, err := s.other.Ensure(ctx, jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}, Storage: jetstream.FileStorage})
	return err
}

func (s *scene) loseStream(name string) {
	s.t.Helper()
	if err := s.other.js.DeleteStream(s.ctx, name); err != nil {
		s.t.Fatal(err)
	}
}

// fate has the next message of the client to such a subject have a fate.
func (s *scene) fate(prefix string, fate natstest.Fate) {
	done := false
	s.link.Watch(func(subject string) natstest.Fate {
		if done || !strings.HasPrefix(subject, prefix) {
			return natstest.Pass
		}
		done = true
		return fate
	})
}

func msg(subject, data string) *nats.Msg {
	return &nats.Msg{Subject: subject, Header: nats.Header{}, Data: []byte(data)}
}

// log keeps what is written to it.
type log struct {
	out io.Writer

	mu   sync.Mutex
	text strings.Builder
}

func (l *log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Write(b)
	return l.out.Write(b)
}

func (l *log) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), text)
}
