package stream

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand/internal/natstest"
)

func (s *scene) scan(what Scan) (found []string, err error) {
	for m, err := range s.client.Scan(s.ctx, "D", what) {
		if err != nil {
			return found, err
		}
		found = append(found, fmt.Sprintf("%s=%s@%d", m.Subject, m.Data, m.Seq))
	}
	return found, nil
}

// Whatever a replica knows, of a filter and between two sequences, in the order of the stream.
func TestScan(t *testing.T) {
	inScene(t, func(s *scene) {
		s.directStream()
		if found, err := s.scan(Scan{Subject: "d.>", UpTo: 1 << 60}); err != nil || len(found) > 0 {
			s.t.Errorf("of an empty stream: %q, %v", found, err)
		}
		var even []string
		var seqs []uint64
		for i := range 2600 {
			subject := fmt.Sprintf("d.%d.%d", i%2, i)
			seqs = append(seqs, s.publish(subject, "x"))
			if i%2 == 0 {
				even = append(even, fmt.Sprintf("%s=x@%d", subject, seqs[i]))
			}
		}
		last := seqs[len(seqs)-1]
		for name, c := range map[string]struct {
			what Scan
			want []string
		}{
			"all":                  {Scan{Subject: "d.0.*", UpTo: last}, even},
			"from a sequence":      {Scan{Subject: "d.0.*", From: seqs[2500], UpTo: last}, even[1250:]},
			"up to a sequence":     {Scan{Subject: "d.0.*", UpTo: seqs[20]}, even[:11]},
			"beyond what there is": {Scan{Subject: "d.0.*", UpTo: last + 1000}, even},
			"nothing":              {Scan{Subject: "d.7.*", UpTo: last}, nil},
		} {
			found, err := s.scan(c.what)
			if err != nil || !slices.Equal(found, c.want) {
				s.t.Errorf("%s: %d found, want %d, %v", name, len(found), len(c.want), err)
			}
		}
		if n, err := s.client.Count(s.ctx, "D", "d.0.*"); err != nil || n != uint64(len(even)) {
			s.t.Errorf("%d counted, want %d, %v", n, len(even), err)
		}
		if n, err := s.client.Count(s.ctx, "D", "d.7.*"); err != nil || n != 0 {
			s.t.Errorf("%d counted of nothing, %v", n, err)
		}
	})
}

// What a request brings is bounded in bytes, and what is stored or removed meanwhile confuses nobody.
func TestScanInPages(t *testing.T) {
	inScene(t, func(s *scene) {
		s.directStream()
		var want []string
		var last uint64
		for i := range 40 {
			want = append(want, fmt.Sprintf("d.%d", i))
			last = s.publish(want[i], string(bytes.Repeat([]byte{'x'}, 512<<10)))
		}
		var found []string
		for m, err := range s.client.Scan(s.ctx, "D", Scan{Subject: "d.>", UpTo: last}) {
			if err != nil {
				s.t.Fatal(err)
			}
			if found = append(found, m.Subject); len(found) == 1 {
				s.publish("d.40", "newer")
				if err := s.other.Remove(s.ctx, "D", last); err != nil {
					s.t.Fatal(err)
				}
			}
		}
		if !slices.Equal(found, want[:39]) {
			s.t.Errorf("found %q", found)
		}
	})
}

// A stream without direct reads is read from its leader, and one that is not there is empty.
func TestScanWithoutDirectReads(t *testing.T) {
	inScene(t, func(s *scene) {
		if found, err := s.scan(Scan{Subject: "d.>", UpTo: 9}); err != nil || len(found) > 0 {
			s.t.Errorf("of no stream: %q, %v", found, err)
		}
		if _, _, err := s.other.Ensure(s.ctx, jetstream.StreamConfig{Name: "D", Subjects: []string{"d.>"}}); err != nil {
			s.t.Fatal(err)
		}
		var want []string
		var last uint64
		for i := range 5 {
			last = s.publish(fmt.Sprintf("d.%d", i), "x")
			want = append(want, fmt.Sprintf("d.%d=x@%d", i, last))
		}
		found, err := s.scan(Scan{Subject: "d.>", UpTo: last - 1})
		if err != nil || !slices.Equal(found, want[:4]) {
			s.t.Errorf("found %q, %v", found, err)
		}
		if _, err := s.client.Count(s.ctx, "D", "d.>"); !errors.Is(err, nats.ErrNoResponders) {
			s.t.Errorf("counted: %v", err)
		}
	})
}

// What was stored before a time is left out, whether a replica answers or the leader.
func TestScanSince(t *testing.T) {
	for _, direct := range []bool{true, false} {
		inScene(t, func(s *scene) {
			if _, _, err := s.other.Ensure(s.ctx, jetstream.StreamConfig{Name: "D", Subjects: []string{"d.>"}, AllowDirect: direct}); err != nil {
				s.t.Fatal(err)
			}
			var want []string
			var last uint64
			for i := range 5 {
				last = s.publish(fmt.Sprintf("d.%d", i), "x")
				want = append(want, fmt.Sprintf("d.%d=x@%d", i, last))
				time.Sleep(time.Minute)
			}
			for ago, n := range map[time.Duration]int{time.Hour: 5, 150 * time.Second: 2, 30 * time.Second: 0, -time.Hour: 0} {
				found, err := s.scan(Scan{Subject: "d.>", Since: time.Now().Add(-ago), UpTo: last})
				if err != nil || !slices.Equal(found, want[5-n:]) {
					s.t.Errorf("direct %v, since %v ago: found %q, %v, want %d", direct, ago, found, err, n)
				}
			}
		})
	}
}

// A request that is lost is repeated, and not for ever.
func TestScanRepeats(t *testing.T) {
	inScene(t, func(s *scene) {
		s.directStream()
		last := s.publish("d.0", "x")
		s.fate("$JS.API.DIRECT.GET.D", natstest.Lost)
		if found, err := s.scan(Scan{Subject: "d.>", UpTo: last}); err != nil || len(found) != 1 {
			s.t.Errorf("found %q, %v", found, err)
		}
		s.link.Watch(func(subject string) natstest.Fate {
			if subject == "$JS.API.DIRECT.GET.D" {
				return natstest.Lost
			}
			return natstest.Pass
		})
		if _, err := s.scan(Scan{Subject: "d.>", UpTo: last}); err == nil {
			s.t.Error("no error, though no answer came")
		}
	})
}
