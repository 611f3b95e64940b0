package stream

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand/internal/natstest"
)

// directStream makes the stream D of the subjects d.>, which allows direct reads.
func (s *scene) directStream() {
	s.t.Helper()
	if _, _, err := s.other.Ensure(s.ctx, jetstream.StreamConfig{Name: "D", Subjects: []string{"d.>"}, AllowDirect: true}); err != nil {
		s.t.Fatal(err)
	}
}

func (s *scene) publish(subject, data string) uint64 {
	s.t.Helper()
	seq, err := s.other.Publish(s.ctx, msg(subject, data))
	if err != nil {
		s.t.Fatal(err)
	}
	return seq
}

func (s *scene) lastOfEach(subjects []string) (found []string, err error) {
	for m, err := range s.client.LastOfEach(s.ctx, "D", subjects) {
		if err != nil {
			return found, err
		}
		found = append(found, fmt.Sprintf("%s=%s@%d", m.Subject, m.Data, m.Seq))
	}
	return found, nil
}

// More subjects than one request has room for: of each that has a message its last.
func TestLastOfEach(t *testing.T) {
	inScene(t, func(s *scene) {
		s.directStream()
		requests := 0
		s.link.Watch(func(subject string) natstest.Fate {
			if subject == "$JS.API.DIRECT.GET.D" {
				requests++
			}
			return natstest.Pass
		})
		var subjects, want []string
		for i := range 2500 {
			subject := fmt.Sprintf("d.%d", i)
			subjects = append(subjects, subject)
			switch i % 3 {
			case 1:
				s.publish(subject, "old")
				fallthrough
			case 2:
				want = append(want, fmt.Sprintf("%s=new@%d", subject, s.publish(subject, "new")))
			}
		}
		found, err := s.lastOfEach(subjects)
		if err != nil || !slices.Equal(found, want) {
			s.t.Errorf("%d found, want %d, %v", len(found), len(want), err)
		}
		if requests != 3 {
			s.t.Errorf("%d requests, want 3", requests)
		}
		for _, nothing := range [][]string{nil, {"d.never"}} {
			if found, err := s.lastOfEach(nothing); err != nil || len(found) != 0 {
				s.t.Errorf("of %q: %q, %v", nothing, found, err)
			}
		}
	})
}

// Messages that are too many bytes for one answer come on several pages. What is stored meanwhile
// changes nothing.
func TestLastOfEachInPages(t *testing.T) {
	inScene(t, func(s *scene) {
		s.directStream()
		var subjects []string
		for i := range 40 {
			subjects = append(subjects, fmt.Sprintf("d.%d", i))
			s.publish(subjects[i], string(bytes.Repeat([]byte{'x'}, 512<<10)))
		}
		var found []string
		for m, err := range s.client.LastOfEach(s.ctx, "D", subjects) {
			if err != nil {
				s.t.Fatal(err)
			}
			if found = append(found, m.Subject); len(found) == 1 {
				s.publish("d.0", "newer")
				s.publish("d.39", "newer")
			}
			if len(m.Data) != 512<<10 {
				s.t.Errorf("%s has %d bytes", m.Subject, len(m.Data))
			}
		}
		if !slices.Equal(found, subjects) {
			s.t.Errorf("found %q", found)
		}
	})
}

// The caller may stop, and be told why nothing is read.
func TestLastOfEachEnds(t *testing.T) {
	inScene(t, func(s *scene) {
		if _, err := s.lastOfEach([]string{"d.0"}); !errors.Is(err, nats.ErrNoResponders) {
			s.t.Errorf("no stream: %v", err)
		}
		s.directStream()
		s.publish("d.0", "x")
		s.publish("d.1", "x")
		n := 0
		for _, err := range s.client.LastOfEach(s.ctx, "D", []string{"d.0", "d.1"}) {
			if err != nil {
				s.t.Error(err)
			}
			n++
			break
		}
		if n != 1 {
			s.t.Errorf("%d yielded, want 1", n)
		}
		s.fate("$JS.API.DIRECT.GET.D", natstest.Lost)
		if _, err := s.lastOfEach([]string{"d.0"}); err == nil {
			s.t.Error("no error for a request that was lost")
		}
	})
}
