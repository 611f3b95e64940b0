package millhand_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand/internal/access"
	"github.com/millhand/millhand/internal/natstest"
	"github.com/millhand/millhand/pipeline"
	"github.com/millhand/millhand/pipeline/stream"
)

// A worker's user who may remove consumers of a stream lacks no permission to share out its partitions, and to fold it into
// windows whose state needs several messages.
func TestRolesSufficeForPipelines(t *testing.T) {
	type click struct{ At time.Time }
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		owner := s.Connect(t)
		js, err := jetstream.New(owner)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "CLICKS", Subjects: []string{"clicks"}}); err != nil {
			t.Fatal(err)
		}
		const clicks = 20
		for i := range clicks {
			at := time.Date(2000, 1, 1, 0, 0, 30*i, 0, time.UTC)
			if _, err := js.Publish(t.Context(), "clicks", fmt.Appendf(nil, `{"At":%q}`, at.Format(time.RFC3339))); err != nil {
				t.Fatal(err)
			}
		}
		owner.Close()
		withRoles(t, s, "$JS.API.CONSUMER.DELETE.CLICKS.*")
		var windows atomic.Int32
		run := func() {
			source, err := stream.NewOrdered(as(t, s, access.Worker), stream.OrderedConfig{
				Stream: "CLICKS", Group: "minutes", Dead: stream.Drop, Logger: testLog(t),
			}, stream.JSON[click])
			if err != nil {
				t.Fatal(err)
			}
			minutes := pipeline.NewFold(pipeline.FoldConfig[string, click, string]{
				Name: "minutes", Key: func(click) string { return "all" }, At: func(c click) time.Time { return c.At }, Size: time.Minute,
				Zero: func(string) string { return "" }, State: source.Store(),
				Fold:   func(v string, _ click) string { return v + strings.Repeat("x", 1<<20) },
				Handle: func(context.Context, *pipeline.Window[string, string]) error { windows.Add(1); return nil },
			})
			p, err := pipeline.New(pipeline.Config[click]{
				Name: "clicks", Source: source, Batchers: []pipeline.AnyBatcher{minutes}, Logger: testLog(t),
				Process: func(_ context.Context, m *pipeline.Message[click]) error { minutes.Add(m, m.Value); return nil },
			})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if err := p.Run(ctx); err != nil {
				t.Error(err)
			}
		}
		run()
		run() // what is there is read again
		if n := windows.Load(); n != clicks/2-1 {
			t.Errorf("%d windows, want all but the last of %d", n, clicks/2)
		}
	})
}
