package millhand_test

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
)

// A hostileMessage is what somebody publishes on a queue's subjects. Suffix is what follows the queue's name.
type hostileMessage struct {
	suffix       string
	header, body []byte
}

func hostileMessages() (all []hostileMessage) {
	long := strings.Repeat("x", 4000)
	big := "traceparent: " + strings.Repeat("y", 60<<10)
	for i, m := range [][3]string{
		{"ready.email.a", "", `{"to":"a"}`},
		{"ready.email.a", "", `{`},
		{"ready.email." + long, "", `{}`},
		{"ready.email." + strings.Repeat("x", 129), "", `{}`},
		{"ready." + long + ".a", "", `{}`},
		{"ready.email.*", "", `{}`},
		{"ready.email.>", "", `{}`},
		{"ready.email.\x7f", "", `{}`},
		{"ready.email.é", "", `{}`},
		{"ready.*.a", "", `{}`},
		{"later.email.a", "", `{}`},
		{"later.fails.a", "Nats-Schedule: @at 2000-01-01T00:00:05Z\r\nNats-Schedule-Target: millhand.default.ready.fails.a", `{}`},
		{"later.email.a", "Nats-Schedule: @every 1s\r\nNats-Schedule-Target: millhand.default.ready.email.b", `{}`},
		{"later.email.a", "Nats-Schedule: @at 2000-01-01T00:00:05Z\r\nNats-Schedule-Target: millhand.default.pin", `{}`},
		{"ready.fails.a", "Millhand-Max-Attempts: 2", `{}`},
		{"ready.fails.a", "Millhand-Max-Attempts: 99999999999999999999", `{}`},
		{"ready.fails.a", "Millhand-Attempt: -1\r\nMillhand-Crashes: 7", `{}`},
		{"ready.fails.a", "Millhand-Meta-team/app: x", `{}`},
		{"ready.fails.a", "Millhand-Meta-user@host: x\r\nMillhand-Meta-a b: y", `{}`},
		{"ready.email.a", "Millhand-Meta-\xff: \x00", `{`},
		{"ready.fails.a", big, `{}`},
		{"ready.email.a", "Millhand-Meta-big: " + strings.Repeat("z", 50<<10), `{`},
		{"ready.fails.a", "Millhand-Timeout: 1ns", `{}`},
		{"ready.fails.a", "Millhand-Timeout: -5s\r\nMillhand-Expires: 0s", `{}`},
		{"ready.email.a", "Millhand-Expires: 1ns", `{}`},
		{"ready.fails.a", "Millhand-Life: \r\nMillhand-Last-Event: 18446744073709551615", `{}`},
		{"ready.fails.a", "Millhand-Life: ../*.>\r\nMillhand-From: x", `{}`},
		{"ready.email.a", "Nats-Rollup: sub", `{`},
		{"ready.fails.a", "Nats-TTL: 1s", `{}`},
		{"ready.email.a", "Nats-Msg-Id: x", "\x00\xff"},
		{"ready.email.a", "Status: 503", ""},
		{"ready.ema.}ia", "Millhand-Expires: 1ns", `{}`},
		{"ready.j\x82\xf8l&ls.a", "ready.j\x82\xf8l&ls.a\x00\x00ls.a\r\nM xYt:illhand-Meta-a b: y", `{}`},
		{"ready.email.>", "\xeb\n\xf0ɽ\xc6\x10\x10\x10\x10\x10\x10AC", `{}`},
		{"ready\xbf\xbf\xbf\xbf\xbfl.\x7f", "", `{}`},
		{"ready.email." + strings.Repeat("x", 90) + "\x04\xe6\xf2\x8cb\x1am", "", "{}}<\xcd\x01"},
		{"later.email.a", "Ɵ1\x8e\x02\xbf=vݘ\x8b\xd2A\xe5\x1c", "{\xed"},
		{"later.\x85\x85\x85\x85\x85\x85a", "\xff]\xc0\xf9D", `{}`},
		{"later.e.a\x01lma", "Nats-Schedule: @every 1s\r\nNats-Schedule-Target: millhand.default.ready.email.c", "\xb8\xfe"},
		{"later.email.a", "Nats-Schedule: @every 1s\r\nNats-Schedule-Target: millhand.default.ready.e\x87\x87\x87mail.b", "[{"},
		{"later.email.a", "Nats-Schedule: @at 2000-01-01T00:00:05Z\r\nNats-Schedule-Target: millhand.defaul\x01.pin", `{}`},
		{"later.email.a", "ts-Schedu\x8ee: @at 2000-01-01T00:00:05Z\r\nNats-Schedule-Target: millhand.default.pin", "}{"},
		{"later.email.a", "Nats-Schedule: @every 5s\r\nNats-Schedule-Target: millhand.default.ready.email.d", "4)"},
		{"pin", "", ""},
		{"pin", "Nats-Rollup: all", ""},
	} {
		suffix := m[0]
		if of, ok := strings.CutSuffix(suffix, ".a"); ok {
			suffix = fmt.Sprintf("%s.a%d", of, i) // an id of its own, so that none ends the job before it
		}
		all = append(all, hostileMessage{suffix: suffix, header: []byte(m[1]), body: []byte(m[2])})
	}
	return all
}

// Whatever stands on a queue's subjects, however it was published: the worker lives, a job behind it runs, what it was is
// over in the end, and the worker drains. The publisher speaks the protocol itself, since client libraries refuse what
// others send.
func TestHostileMessages(t *testing.T) {
	for _, on := range []string{"ready", "later", "pin"} { // a message on the pin can remove all others
		t.Run(on, func(t *testing.T) {
			msgs := slices.DeleteFunc(hostileMessages(), func(m hostileMessage) bool { return !strings.HasPrefix(m.suffix, on) })
			natstest.Bubble(t, func(t *testing.T, s *natstest.Server) { surviveHostile(t, s, msgs) })
		})
	}
}

// FuzzHostileMessage begins with each of these messages alone. That takes its time, and so is done only where time is for it.
func FuzzHostileMessage(f *testing.F) {
	if flag.Lookup("test.fuzz").Value.String() != "" {
		for _, m := range hostileMessages() {
			f.Add(m.suffix, m.header, m.body)
		}
	}
	f.Fuzz(func(t *testing.T, suffix string, header, body []byte) {
		if strings.ContainsAny(suffix, " \t\r\n\x00") || len(suffix) > 4200 || len(header) > 64<<10 || len(body) > 256<<10 {
			t.Skip() // Another command, or one that the server does not read.
		}
		natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
			surviveHostile(t, s, []hostileMessage{{suffix, header, body}})
		})
	})
}

func surviveHostile(t *testing.T, s *natstest.Server, msgs []hostileMessage) {
	t.Helper()
	mux := millhand.NewMux()
	millhand.Handle(mux, func(context.Context, *millhand.Job[email]) error { return nil })
	mux.HandleFunc("fails", func(_ context.Context, j *millhand.Job[millhand.Raw]) ([]byte, error) {
		clear(j.Args.Payload) // A handler may do with it what it likes.
		return nil, errors.New("fails \xff\x00\r\n" + strings.Repeat("é", 10<<10))
	})
	nc := s.Connect(t)
	_, stop := start(t, nc, millhand.WorkerConfig{Mux: mux, Concurrency: 2})
	c := client(t, s.Connect(t))
	await := func(when string) {
		t.Helper()
		ref, err := c.Enqueue(t.Context(), email{To: "b@example.com"})
		if err != nil {
			t.Fatalf("%s: Enqueue = %v", when, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := c.Await(ctx, ref); err != nil {
			t.Errorf("%s: a good job = %v", when, err)
		}
	}
	await("before")
	for _, m := range msgs {
		publishRaw(t, s, "millhand.default."+m.suffix, m.header, m.body)
		await(fmt.Sprintf("behind %.40q, %.60q", m.suffix, m.header))
	}
	time.Sleep(3 * time.Minute)
	await("later")
	checkOver(t, s)
	begin := time.Now()
	if err := stop(); err != nil {
		t.Errorf("drain = %v", err)
	}
	if took := time.Since(begin); took > time.Minute {
		t.Errorf("the drain took %v", took)
	}
	if nc.IsClosed() {
		t.Error("the worker's connection was closed")
	}
}

// publishRaw publishes in the words of the protocol, and returns when the server has read them or hung up.
func publishRaw(t *testing.T, s *natstest.Server, subject string, header, body []byte) {
	t.Helper()
	conn, err := s.InProcessConn()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	go say(conn, subject, header, body)
	for in := bufio.NewReader(conn); ; {
		line, err := in.ReadString('\n')
		if err != nil || strings.HasPrefix(line, "PONG") {
			synctest.Wait()
			return
		}
	}
}

func say(conn net.Conn, subject string, header, body []byte) {
	head := "NATS/1.0\r\n"
	if len(header) > 0 {
		head += string(header) + "\r\n"
	}
	head += "\r\n"
	_, _ = fmt.Fprintf(conn, "CONNECT {\"verbose\":false,\"headers\":true}\r\nHPUB %s %d %d\r\n%s%s\r\nPING\r\n",
		subject, len(head), len(head)+len(body), head, body)
}

// checkOver checks that no message waits at a type that is served, but for those that a schedule of the publisher's own
// brings again and again.
func checkOver(t *testing.T, s *natstest.Server) {
	t.Helper()
	stream := openStream(t, jetStream(t, s.Connect(t)), "millhand-queue-default")
	for _, typ := range []string{"email", "fails"} {
		info, err := stream.Info(t.Context(), jetstream.WithSubjectFilter("millhand.default.ready."+typ+".>"))
		if err != nil {
			t.Fatal(err)
		}
		for subject := range info.State.Subjects {
			m, err := stream.GetLastMsgForSubject(t.Context(), subject)
			if errors.Is(err, jetstream.ErrMsgNotFound) {
				continue
			}
			if err != nil {
				t.Errorf("%q: %v", subject, err)
			} else if age := time.Since(m.Time); age > 2*time.Minute {
				t.Errorf("%q has waited for %v", subject, age)
			}
		}
	}
}
