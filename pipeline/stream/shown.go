package stream

import (
	"context"
	"crypto/rand"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/millhand/millhand/internal/registry"
	internal "github.com/millhand/millhand/internal/stream"
	"github.com/millhand/millhand/pipeline"
)

// shown is a source that shows its pipeline in the registry.
type shown interface { //nolint:interfacebloat // of two sources of this package
	uses() pipeline.User
	describe(p *registry.Pipeline)
	lags() []pipeline.Lag
	isDraining() bool
	setDraining(on bool)
}

// shownAs is what a process is called in which a pipeline runs: anew at each start.
func shownAs(name string) string {
	host, _ := os.Hostname() // for people
	return token(name) + "-" + token(host) + "-" + strings.ToLower(rand.Text()[:8])
}

// token makes a name fit for a key.
func token(name string) string {
	const most = 30
	return strings.Map(func(r rune) rune {
		if r < 128 && (r == '-' || r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z') {
			return r
		}
		return '-'
	}, name[:min(len(name), most)])
}

// show has people see the pipeline of a source until ctx ends.
func show(ctx context.Context, client *internal.Client, id string, log *slog.Logger, s shown) {
	u := s.uses()
	if u.Stats == nil {
		return // nobody has attached it
	}
	registry.NewStore(client, log).ShowReader(ctx, registry.Reader{
		ID: id, Name: token(u.Name), Logger: log,
		Pipeline: func() registry.Pipeline { return seen(s, u) },
		Draining: func() bool { return s.isDraining() || u.Stats().State == pipeline.StateDraining },
		Suspend: func(on bool) {
			s.setDraining(on)
			u.Shut(on)
		},
	})
}

// seen is what the registry has of a pipeline.
func seen(s shown, u pipeline.User) registry.Pipeline {
	stats := u.Stats()
	p := registry.Pipeline{Name: u.Name, State: string(stats.State), InHand: stats.InHand, Processed: stats.Handled, Failed: stats.Failed}
	s.describe(&p)
	now := time.Now()
	for _, l := range s.lags() {
		part := registry.Partition{Partition: l.Partition, Lag: new(l.Messages)}
		if age, known := l.Age(now); known {
			part.LagAge = new(age.Round(time.Millisecond).Seconds())
		}
		if p.Lag == nil {
			p.Lag = new(int64)
		}
		*p.Lag += l.Messages
		if part.LagAge != nil && (p.LagAge == nil || *p.LagAge < *part.LagAge) {
			p.LagAge = part.LagAge
		}
		if l.Partition >= 0 {
			p.Partitions = append(p.Partitions, part)
		}
	}
	return p
}
