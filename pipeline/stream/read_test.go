package stream_test

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand/flow"
	"github.com/millhand/millhand/internal/natstest"
	"github.com/millhand/millhand/pipeline/stream"
)

// A scene is a stream S of somebody else, and a reader over a link that a test can break.
type scene struct {
	t      *testing.T
	server *natstest.Server
	link   *natstest.Link
	nc     *nats.Conn
	js     jetstream.JetStream // of somebody else
	s      jetstream.Stream
}

func inScene(t *testing.T, cfg jetstream.StreamConfig, f func(t *testing.T, s *scene)) {
	t.Helper()
	natstest.Bubble(t, func(t *testing.T, server *natstest.Server) {
		s := &scene{t: t, server: server, link: server.Link()}
		s.nc = s.link.Connect(t)
		var err error
		if s.js, err = jetstream.New(server.Connect(t)); err != nil {
			t.Fatal(err)
		}
		cfg.Name, cfg.Subjects = "S", []string{"s.>"}
		s.make(cfg)
		f(t, s)
	})
}

func (s *scene) make(cfg jetstream.StreamConfig) {
	s.t.Helper()
	var err error
	if s.s, err = s.js.CreateStream(s.t.Context(), cfg); err != nil {
		s.t.Fatal(err)
	}
}

// publish stores the numbers from, from+1, …, the even ones on s.even.
func (s *scene) publish(from, n int) {
	s.t.Helper()
	for i := from; i < from+n; i++ {
		if _, err := s.js.PublishAsync([]string{"s.even", "s.odd"}[i%2], []byte(strconv.Itoa(i))); err != nil {
			s.t.Fatal(err)
		}
	}
	<-s.js.PublishAsyncComplete()
}

func (s *scene) read(cfg stream.ReadConfig) iter.Seq2[int, error] {
	cfg.Stream = "S"
	return stream.Read(s.t.Context(), s.nc, cfg, stream.JSON[int])
}

// collect reads to the end, and calls at after the nth value.
func collect(values iter.Seq2[int, error], n int, at func()) (found []int, err error) {
	for v, err := range values {
		if err != nil {
			return found, err
		}
		if found = append(found, v); len(found) == n {
			at()
		}
	}
	return found, nil
}

// consumers fails the test unless there are none.
func (s *scene) noConsumers() {
	s.t.Helper()
	time.Sleep(5 * time.Second) // until the connection is there again, and less than the broker takes to remove one
	info, err := s.s.Info(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	if n := info.State.Consumers; n != 0 {
		s.t.Errorf("%d consumers are left", n)
	}
}

func numbers(from, to int, keep func(int) bool) (ns []int) {
	for i := from; i <= to; i++ {
		if keep(i) {
			ns = append(ns, i)
		}
	}
	return ns
}

func all(int) bool { return true }

func TestRead(t *testing.T) {
	inScene(t, jetstream.StreamConfig{}, func(t *testing.T, s *scene) {
		for name, cfg := range map[string]stream.ReadConfig{"all": {}, "beyond": {FromSeq: 9}} {
			if found, err := collect(s.read(cfg), 0, nil); err != nil || len(found) > 0 {
				t.Errorf("%s of an empty stream: %v, %v", name, found, err)
			}
		}
		s.publish(1, 600)
		time.Sleep(time.Hour)
		s.publish(601, 601)
		kept := func(i int) bool { return i%3 != 0 || i > 900 } // gaps, of which one is a whole page long
		for i := 1; i <= 900; i++ {
			if i%3 == 0 {
				if err := s.s.DeleteMsg(t.Context(), uint64(i)); err != nil {
					t.Fatal(err)
				}
			}
		}
		even := func(i int) bool { return kept(i) && i%2 == 0 }
		for name, c := range map[string]struct {
			cfg  stream.ReadConfig
			want []int
		}{
			"all":                 {stream.ReadConfig{}, numbers(1, 1201, kept)},
			"one subject":         {stream.ReadConfig{Subject: "s.even"}, numbers(1, 1201, even)},
			"from a sequence":     {stream.ReadConfig{FromSeq: 3, Subject: "s.*"}, numbers(3, 1201, kept)},
			"beyond the end":      {stream.ReadConfig{FromSeq: 1202}, nil},
			"since a time":        {stream.ReadConfig{Since: time.Now().Add(-time.Minute), Subject: "s.even"}, numbers(601, 1201, even)},
			"since now":           {stream.ReadConfig{Since: time.Now().Add(time.Second)}, nil},
			"a subject of no one": {stream.ReadConfig{Subject: "s.none"}, nil},
		} {
			found, err := collect(s.read(c.cfg), 0, nil)
			if err != nil || !slices.Equal(found, c.want) {
				t.Errorf("%s: %d found, want %d, %v", name, len(found), len(c.want), err)
			}
		}
		s.noConsumers()
	})
}

// What happens to the stream while it is read.
func TestReadMeanwhile(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(s *scene)
		want int   // numbers from 1 on
		err  error // last
	}{
		"stored":   {func(s *scene) { s.publish(1101, 10) }, 1100, nil},
		"purged":   {func(s *scene) { _ = s.s.Purge(s.t.Context()) }, 500, nil},
		"its tail": {func(s *scene) { _ = s.s.Purge(s.t.Context(), jetstream.WithPurgeSequence(1050)); s.publish(1101, 1) }, -1, nil},
		"removed":  {func(s *scene) { _ = s.js.DeleteStream(s.t.Context(), "S") }, 500, jetstream.ErrStreamNotFound},
		"remade": {func(s *scene) {
			_ = s.js.DeleteStream(s.t.Context(), "S")
			time.Sleep(time.Second)
			s.make(jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}})
			s.publish(1, 1100)
		}, 500, stream.ErrRemade},
		"its consumer expires": {func(*scene) { time.Sleep(time.Hour) }, 1100, nil},
		"the line is cut":      {func(s *scene) { s.link.Cut() }, 1100, nil},
		"the broker is killed": {func(s *scene) { s.server.Kill(s.t); s.server.Start(s.t) }, 1100, nil},
	} {
		t.Run(name, func(t *testing.T) {
			inScene(t, jetstream.StreamConfig{}, func(t *testing.T, s *scene) {
				s.publish(1, 1100)
				found, err := collect(s.read(stream.ReadConfig{}), 400, func() { c.do(s) })
				want := numbers(1, c.want, all)
				if c.want < 0 {
					want = append(numbers(1, 500, all), numbers(1050, 1100, all)...)
				}
				if !errors.Is(err, c.err) || !slices.Equal(found, want) {
					t.Errorf("%d found, want %d, error %v, want %v", len(found), len(want), err, c.err)
				}
				if c.err == nil {
					s.noConsumers()
				}
			})
		})
	}
}

// One consumer and a request a page is all that it takes, and it never waits.
func TestReadCosts(t *testing.T) {
	inScene(t, jetstream.StreamConfig{}, func(t *testing.T, s *scene) {
		s.publish(1, 2600)
		var sent []string
		s.link.Watch(func(subject string) natstest.Fate {
			sent = append(sent, strings.Join(strings.Split(subject, ".")[2:4], "."))
			return natstest.Pass
		})
		begin := time.Now()
		found, err := collect(s.read(stream.ReadConfig{}), 0, nil)
		if err != nil || len(found) != 2600 || time.Since(begin) > 0 {
			t.Errorf("%d found in %v, %v", len(found), time.Since(begin), err)
		}
		next := "CONSUMER.MSG"
		want := []string{"STREAM.INFO", "STREAM.INFO", "CONSUMER.CREATE", next, next, next, next, next, next, "CONSUMER.DELETE"}
		if !slices.Equal(sent, want) {
			t.Errorf("sent %q", sent)
		}
	})
}

// Messages and answers that are lost are asked for again, and no message comes twice.
func TestReadOverABadLine(t *testing.T) {
	for i := range 24 {
		fate, nth := []natstest.Fate{natstest.CutBefore, natstest.CutAfter, natstest.Lost}[i%3], 1+i/3
		inScene(t, jetstream.StreamConfig{}, func(t *testing.T, s *scene) {
			s.publish(1, 1100)
			sent := 0
			s.link.Watch(func(string) natstest.Fate {
				if sent++; sent == nth {
					return fate
				}
				return natstest.Pass
			})
			found, err := collect(s.read(stream.ReadConfig{}), 0, nil)
			if err != nil || !slices.Equal(found, numbers(1, 1100, all)) {
				t.Errorf("fate %d of request %d: %d found, %v", fate, nth, len(found), err)
			}
		})
	}
}

// A broker that stays away is waited for, and not for ever.
func TestReadOfABrokerThatIsGone(t *testing.T) {
	inScene(t, jetstream.StreamConfig{}, func(t *testing.T, s *scene) {
		s.publish(1, 1100)
		begin := time.Now()
		found, err := collect(s.read(stream.ReadConfig{}), 400, s.link.Crash)
		if took := time.Since(begin); err == nil || len(found) != 500 || took < 30*time.Second || took > 40*time.Second {
			t.Errorf("%d found within %v, %v", len(found), took, err)
		}
	})
}

// What a stream keeps for others to handle stays theirs.
func TestReadOfAStreamOfWork(t *testing.T) {
	for _, retention := range []jetstream.RetentionPolicy{jetstream.WorkQueuePolicy, jetstream.InterestPolicy} {
		inScene(t, jetstream.StreamConfig{Retention: retention}, func(t *testing.T, s *scene) {
			if _, err := s.s.CreateConsumer(t.Context(), jetstream.ConsumerConfig{Durable: "theirs", AckPolicy: jetstream.AckExplicitPolicy}); err != nil {
				t.Fatal(err)
			}
			s.publish(1, 20)
			found, err := collect(s.read(stream.ReadConfig{}), 0, nil)
			if err != nil || !slices.Equal(found, numbers(1, 20, all)) {
				t.Errorf("%v: found %v, %v", retention, found, err)
			}
			if info, err := s.s.Info(t.Context()); err != nil || info.State.Msgs != 20 || info.State.Consumers != 1 {
				t.Errorf("%v: %+v, %v", retention, info.State, err)
			}
		})
	}
}

// A message that is not JSON ends a flow after those before it, and the error says which one it is.
func TestReadOfAForeignMessage(t *testing.T) {
	inScene(t, jetstream.StreamConfig{}, func(t *testing.T, s *scene) {
		s.publish(1, 10)
		if _, err := s.js.Publish(t.Context(), "s.foreign", []byte("hello")); err != nil {
			t.Fatal(err)
		}
		s.publish(12, 10)
		sum := 0
		err := flow.FromErr(s.read(stream.ReadConfig{})).Each(func(n int) { sum += n }).Run(t.Context())
		bad, ok := errors.AsType[*stream.DecodeError](err)
		_, syntax := errors.AsType[*json.SyntaxError](err)
		if !ok || !syntax || bad.Stream != "S" || bad.Seq != 11 || bad.Subject != "s.foreign" || sum != 55 {
			t.Errorf("sum %d, %v", sum, err)
		}
		s.noConsumers()
	})
}

// A decoder has all that there is of a message.
func TestReadDecodes(t *testing.T) {
	inScene(t, jetstream.StreamConfig{}, func(t *testing.T, s *scene) {
		m := &nats.Msg{Subject: "s.x", Header: nats.Header{"Status": {"404"}}, Data: []byte("hello")}
		if _, err := s.js.PublishMsg(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		whole := func(m stream.Message) (stream.Message, error) { return m, nil }
		for m, err := range stream.Read(t.Context(), s.nc, stream.ReadConfig{Stream: "S"}, whole) {
			if err != nil || m.Subject != "s.x" || m.Seq != 1 || string(m.Data) != "hello" || m.Header.Get("Status") != "404" || m.Time.IsZero() {
				t.Errorf("%+v, %v", m, err)
			}
		}
	})
}

// What is in memory at once is bounded in bytes, too.
func TestReadOfLargeMessages(t *testing.T) {
	inScene(t, jetstream.StreamConfig{}, func(t *testing.T, s *scene) {
		const large = 700 << 10
		for range 30 {
			if _, err := s.js.Publish(t.Context(), "s.x", make([]byte, large)); err != nil {
				t.Fatal(err)
			}
		}
		pulls, found := 0, 0
		s.link.Watch(func(subject string) natstest.Fate {
			if strings.HasPrefix(subject, "$JS.API.CONSUMER.MSG.NEXT.") {
				pulls++
			}
			return natstest.Pass
		})
		size := func(m stream.Message) (int, error) { return len(m.Data), nil }
		for n, err := range stream.Read(t.Context(), s.nc, stream.ReadConfig{Stream: "S"}, size) {
			if err != nil || n != large {
				t.Fatalf("%d bytes, %v", n, err)
			}
			found++
		}
		if found != 30 || pulls < 3 || pulls > 4 {
			t.Errorf("%d found with %d requests", found, pulls)
		}
	})
}

func TestReadEndsEarly(t *testing.T) {
	inScene(t, jetstream.StreamConfig{}, func(t *testing.T, s *scene) {
		s.publish(1, 1100)
		for n, err := range s.read(stream.ReadConfig{}) {
			if err != nil {
				t.Fatal(err)
			}
			if n == 3 {
				break
			}
		}
		s.noConsumers()
		enough := errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		found, err := collect(stream.Read(ctx, s.nc, stream.ReadConfig{Stream: "S"}, stream.JSON[int]), 400, func() { cancel(enough) })
		if !errors.Is(err, enough) || len(found) != 500 {
			t.Errorf("%d found, %v", len(found), err)
		}
		s.noConsumers()
	})
}

func TestReadRefuses(t *testing.T) {
	inScene(t, jetstream.StreamConfig{}, func(t *testing.T, s *scene) {
		for name, values := range map[string]iter.Seq2[int, error]{
			"no connection": stream.Read(t.Context(), nil, stream.ReadConfig{Stream: "S"}, stream.JSON[int]),
			"no decoder":    stream.Read[int](t.Context(), s.nc, stream.ReadConfig{Stream: "S"}, nil),
		} {
			if found, err := collect(values, 0, nil); !errors.Is(err, stream.ErrInvalid) || len(found) > 0 {
				t.Errorf("%s: %v, %v", name, found, err)
			}
		}
		for name, c := range map[string]struct {
			cfg  stream.ReadConfig
			want error
		}{
			"no name":        {stream.ReadConfig{}, stream.ErrInvalid},
			"two beginnings": {stream.ReadConfig{Stream: "S", FromSeq: 1, Since: time.Now()}, stream.ErrInvalid},
			"a bad domain":   {stream.ReadConfig{Stream: "S", Domain: "a b"}, stream.ErrInvalid},
			"no such stream": {stream.ReadConfig{Stream: "T"}, jetstream.ErrStreamNotFound},
		} {
			if found, err := collect(stream.Read(t.Context(), s.nc, c.cfg, stream.JSON[int]), 0, nil); !errors.Is(err, c.want) || len(found) > 0 {
				t.Errorf("%s: %v, %v", name, found, err)
			}
		}
	})
}
