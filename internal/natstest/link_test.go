package natstest_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"pgregory.net/rapid"

	"github.com/millhand/millhand/internal/natstest"
)

// listen collects what is published on subjects of the test.
func listen(t *testing.T, s *natstest.Server) (got func() []string) {
	t.Helper()
	msgs := make(chan *nats.Msg, 100)
	if _, err := s.Connect(t).ChanSubscribe("t.*", msgs); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Millisecond) // the server knows of it
	return func() (data []string) {
		time.Sleep(time.Second)
		for {
			select {
			case m := <-msgs:
				data = append(data, string(m.Data))
			default:
				return data
			}
		}
	}
}

func TestLinkHolds(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		got := listen(t, s)
		l := s.Link()
		nc := l.Connect(t)
		l.Hold()
		for _, v := range []string{"a", "b"} {
			if err := nc.Publish("t.x", []byte(v)); err != nil {
				t.Fatal(err)
			}
		}
		if g := got(); len(g) != 0 {
			t.Errorf("held link let through %q", g)
		}
		l.Release()
		if g := got(); !slices.Equal(g, []string{"a", "b"}) {
			t.Errorf("released link let through %q, want a and b", g)
		}
	})
}

func TestLinkCutBetweenTwoWrites(t *testing.T) {
	tests := []struct {
		fate natstest.Fate
		want []string
	}{
		{natstest.Pass, []string{"0", "1", "2"}},
		{natstest.CutBefore, []string{"0"}},
		{natstest.CutAfter, []string{"0", "1"}},
	}
	for _, tt := range tests {
		natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
			got := listen(t, s)
			l := s.Link()
			nc := l.Connect(t)
			n := 0
			l.Watch(func(subject string) natstest.Fate {
				if n++; subject == "t.x" && n == 2 {
					return tt.fate
				}
				return natstest.Pass
			})
			for _, v := range []string{"0", "1", "2"} {
				if err := nc.Publish("t.x", []byte(v)); err != nil {
					t.Fatal(err)
				}
			}
			if g := got(); !slices.Equal(g, tt.want) {
				t.Errorf("fate %d: got %q, want %q", tt.fate, g, tt.want)
			}
			if err := nc.Publish("t.x", []byte("later")); err != nil {
				t.Fatal(err)
			}
			if g := got(); !slices.Equal(g, []string{"later"}) {
				t.Errorf("fate %d: after reconnecting got %q", tt.fate, g)
			}
		})
	}
}

// The server stores the message whose sender never hears of it.
func TestLinkCutAfterLosesTheAnswer(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		js, err := jetstream.New(s.Connect(t))
		if err != nil {
			t.Fatal(err)
		}
		st, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "J", Subjects: []string{"j.>"}})
		if err != nil {
			t.Fatal(err)
		}
		l := s.Link()
		nc := l.Connect(t)
		l.Watch(func(string) natstest.Fate { l.Down(); return natstest.CutAfter })
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := nc.RequestMsgWithContext(ctx, &nats.Msg{Subject: "j.1"}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("request over a cut link: %v", err)
		}
		if got := st.CachedInfo().State.Msgs; got != 0 {
			t.Fatalf("stream had %d messages", got)
		}
		if info, err := st.Info(t.Context()); err != nil || info.State.Msgs != 1 {
			t.Errorf("stream has %+v, %v, want 1 message", info.State, err)
		}
		if nc.IsConnected() {
			t.Error("connected though the link is down")
		}
		l.Watch(nil)
		l.Up()
		time.Sleep(time.Second)
		if !nc.IsConnected() {
			t.Error("not connected though the link is up")
		}
	})
}

func TestCheckRunsEachCaseOnItsOwnServer(t *testing.T) {
	natstest.Check(t, func(t *rapid.T, s *natstest.Server) {
		js, err := jetstream.New(s.Connect(t))
		if err != nil {
			t.Fatal(err)
		}
		wait := time.Duration(rapid.IntRange(1, 3600).Draw(t, "seconds")) * time.Second
		time.Sleep(wait)
		if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "J"}); err != nil {
			t.Fatal(err)
		}
		n := 0
		for range js.StreamNames(t.Context()).Name() {
			n++
		}
		if n != 1 {
			t.Errorf("%d streams on a fresh server", n)
		}
	})
}
