package stream_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand/pipeline"
	"github.com/millhand/millhand/pipeline/stream"
)

// Of a stream whose subjects the broker changes so that some of its partitions would be read by nobody, Run says what to
// change. What others put into subjects is theirs to know.
func TestOrderedRefusesTransforms(t *testing.T) {
	inScene(t, jetstream.StreamConfig{}, func(t *testing.T, s *scene) {
		for _, tt := range []struct {
			to, subject string
			partitions  int
			want        string // of the error; empty: none
		}{
			{"t.{{partition(4,1)}}.{{wildcard(1)}}", "t.{partition}.*", 4, ""},
			{"t.{{ Partition( 4 , 1 ) }}.{{wildcard(1)}}", "t.{partition}.>", 8, ""},
			{"t.{{partition(8,1)}}.{{wildcard(1)}}", "t.{partition}.*", 4, "set Partitions to 8"},
			{"t.{{wildcard(1)}}.{{partition(4,1)}}", "t.{partition}.*", 4, `"t.*.{partition}"`},
			{"t.{{wildcard(1)}}.{{partition(4,1)}}", "t.*.{partition}", 4, ""},
			{"t.{{partition(4,1)}}.{{wildcard(1)}}", "u.{partition}.*", 4, `"t.{partition}.*"`},
			{"t.{{partition(4,1)}}.{{wildcard(1)}}", "t.*.{partition}", 4, `"t.{partition}.*"`},
			{"t.{{partition(4,1)}}.{{wildcard(1)}}", "{partition}", 4, `"t.{partition}.*"`},
			{"t.{{splitFromLeft(1,1)}}.{{partition(4,1)}}", "t.*.*.{partition}", 4, ""}, // where it is depends on the message
			{"t.{{wildcard(1)}}", "t.{partition}", 4, ""},                               // whoever publishes says it
			{"t.{{partition(8,1)}}.{{wildcard(1)}}", "t.>", 1, ""},                      // all of it is one partition
		} {
			if _, err := s.js.CreateStream(t.Context(), jetstream.StreamConfig{
				Name: "T", Subjects: []string{"u.*"}, SubjectTransform: &jetstream.SubjectTransformConfig{Source: "u.*", Destination: tt.to},
			}); err != nil {
				t.Fatalf("%s: %v", tt.to, err)
			}
			o, err := stream.NewOrdered(s.nc, stream.OrderedConfig{Stream: "T", Group: "t", Partitions: tt.partitions, Subject: tt.subject, Dead: stream.Drop}, stream.JSON[event])
			if err != nil {
				t.Fatal(err)
			}
			p := startOrdered(t, pipeline.Config[event]{Source: o, Process: func(context.Context, *pipeline.Message[event]) error { return nil }})
			if tt.want == "" {
				time.Sleep(2 * time.Second)
				p.drain(t, time.Minute)
			} else if err := p.wait(t); !errors.Is(err, stream.ErrInvalid) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s read as %s in %d partitions: %v", tt.to, tt.subject, tt.partitions, err)
			}
			for _, name := range []string{"T", "millhand-state"} {
				if err := s.js.DeleteStream(t.Context(), name); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
					t.Fatal(err)
				}
			}
		}
	})
}

// odd is an accumulator that is encoded, and decoded, as it says.
type odd struct{ how string }

func (o odd) AppendBinary(to []byte) ([]byte, error) {
	switch o.how {
	case "panics":
		panic("not today")
	case "ends":
		runtime.Goexit()
	}
	return append(to, o.how...), nil
}

func (o *odd) UnmarshalBinary(from []byte) error {
	if o.how = string(from); o.how == "cannot be read" {
		panic("not today")
	}
	return nil
}

// What a fold knows that cannot be kept, or not be read again, ends the pipeline, whatever the functions of the accumulator do.
// The error names the fold.
func TestStatesThatCannotBeKept(t *testing.T) {
	for how, wants := range map[string][]string{
		"panics":         {"of group g", "fold all", "not today"},
		"ends":           {"of group g", "fold all", pipeline.ErrExited.Error()},
		"cannot be read": {"of group g", "fold all", "not today", "stream.ResetGroup"},
		"":               nil,
	} {
		t.Run(how, func(t *testing.T) {
			inGroup(t, func(t *testing.T, s *scene) {
				s.tell(map[string]int{}, 1, 1)
				run := func() *running[event] {
					o := s.ordered(nil)
					all := pipeline.NewFold(pipeline.FoldConfig[string, event, odd]{
						Name: "all", Key: func(e event) string { return e.Key }, At: func(event) time.Time { return time.Unix(0, 0) }, Size: time.Minute, State: o.Store(),
						Zero: func(string) odd { return odd{how} }, Fold: func(o odd, _ event) odd { return o },
						Handle: func(context.Context, *pipeline.Window[string, odd]) error { return nil },
					})
					return startOrdered(t, pipeline.Config[event]{Source: o, Batchers: []pipeline.AnyBatcher{all}, Process: func(_ context.Context, m *pipeline.Message[event]) error {
						all.Add(m, m.Value)
						return nil
					}})
				}
				p := run()
				if how == "cannot be read" || how == "" {
					time.Sleep(5 * time.Second)
					drainOrdered(t, p)
					if p = run(); how == "" {
						time.Sleep(5 * time.Second)
						drainOrdered(t, p)
						return
					}
				}
				err := p.wait(t)
				for _, want := range wants {
					if err == nil || !strings.Contains(err.Error(), want) {
						t.Errorf("Run returned %v, without %q", err, want)
					}
				}
			})
		})
	}
}
