package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand/internal/broker"
	"github.com/millhand/millhand/internal/cli"
)

// An interrupt while a batch is on its way: its jobs are stored once, and all counted.
func TestInterruptedBatchIsCounted(t *testing.T) {
	b, err := broker.Start(broker.Config{Store: t.TempDir(), Port: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Shutdown)
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	url := interpose(t, strings.TrimPrefix(b.ClientURL(), "nats://"), "number-500", interrupt)

	var in, out, errs bytes.Buffer
	for i := range 1500 {
		fmt.Fprintf(&in, `{"payload":"number-%d"}`+"\n", i)
	}
	code := execute(ctx, []string{"--from", "-", "email", "-s", url}, streams{in: &in, out: &out, err: &errs})
	if code != cli.ExitInterrupted {
		t.Errorf("exit code = %d, want %d", code, cli.ExitInterrupted)
	}
	if want := "enqueued 1000, duplicates 0, refused 0 in "; !strings.HasPrefix(errs.String(), want) {
		t.Errorf("stderr = %q, want %q…", errs.String(), want)
	}
	if got := strings.Count(out.String(), "\n"); got != 1000 {
		t.Errorf("%d ids printed, want 1000", got)
	}
	if got := stored(t, b.ClientURL()); got != 1000 {
		t.Errorf("%d jobs stored, want 1000", got)
	}
}

// A broker that is gone before a batch is sent: what was stored counts, and the batch is
// tried once only.
func TestLostBrokerIsToldOnce(t *testing.T) {
	b, err := broker.Start(broker.Config{Store: t.TempDir(), Port: -1})
	if err != nil {
		t.Fatal(err)
	}
	stop := sync.OnceFunc(b.Shutdown)
	t.Cleanup(stop)
	var errs bytes.Buffer
	in := io.MultiReader(
		strings.NewReader(strings.Repeat("{}\n", 1000)),
		readerFunc(func([]byte) (int, error) {
			if stored(t, b.ClientURL()) < 1000 {
				return 0, nil // not yet
			}
			stop()
			return 0, io.EOF
		}),
		strings.NewReader(strings.Repeat("{}\n", 3)),
	)
	// Long enough that a busy machine stores the first lines, and answers.
	code := execute(t.Context(), []string{"--from", "-", "email", "--quiet", "--patience", "5s", "-s", b.ClientURL()}, streams{in: in, out: io.Discard, err: &errs})
	if code != cli.ExitRuntime {
		t.Errorf("exit code = %d, want %d", code, cli.ExitRuntime)
	}
	// On a slow machine a line of progress may stand before these.
	for _, want := range []string{
		"enqueued 1000, duplicates 0, refused 0 in ",
		"enqueue: line 1001 and 2 more up to line 1003 may or may not be enqueued, what follows is not: ",
	} {
		if got := strings.Count("\n"+errs.String(), "\n"+want); got != 1 {
			t.Errorf("%d lines begin with %q, want one, in %q", got, want, errs.String())
		}
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func stored(t *testing.T, url string) int {
	t.Helper()
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	s, err := js.Stream(t.Context(), "millhand-queue-default")
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return 0
	}
	if err != nil {
		t.Fatal(err)
	}
	info, err := s.Info(t.Context(), jetstream.WithSubjectFilter("millhand.default.ready.>"))
	if err != nil {
		t.Fatal(err)
	}
	return len(info.State.Subjects) // one of each id
}

// interpose returns the URL of a way to addr which calls seen before it lets pass what
// first has the text in it.
func interpose(t *testing.T, addr, text string, seen func()) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", addr)
			if err != nil {
				_ = client.Close() // which the test notices
				return
			}
			conns.Go(func() { _, _ = io.Copy(client, server); _ = client.Close() }) // until either side ends
			conns.Go(func() {
				_, _ = io.Copy(server, io.TeeReader(client, &watcher{text: []byte(text), seen: seen}))
				_ = server.Close()
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		conns.Wait()
	})
	return "nats://" + l.Addr().String()
}

// watcher calls seen once, when the text was written to it.
type watcher struct {
	text, tail []byte
	seen       func()
	once       sync.Once
}

func (w *watcher) Write(p []byte) (int, error) {
	w.tail = append(w.tail, p...)
	if bytes.Contains(w.tail, w.text) {
		w.once.Do(w.seen)
	}
	w.tail = bytes.Clone(w.tail[max(0, len(w.tail)-len(w.text)):])
	return len(p), nil
}
