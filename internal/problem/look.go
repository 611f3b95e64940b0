package problem

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/millhand/millhand/internal/stats"
	"github.com/millhand/millhand/internal/stream"
	"github.com/millhand/millhand/internal/tally"
	"github.com/millhand/millhand/internal/view"
)

// How long an answer holds that changes slowly.
const (
	accountFor = 30 * time.Second
	pastFor    = 10 * time.Minute
	patience   = time.Second // for one of them
)

// A Looker looks what is wrong. It is safe for concurrent use, and does nothing while nobody looks. What
// it asks beyond a snapshot does not grow with what waits: one read of what was summed up since it last
// looked, the broker's account twice a minute and, while a job runs for longer than five minutes, the sums
// of a day every ten.
type Looker struct {
	client *stream.Client
	view   *view.View
	stats  *stats.Store
	recent *stats.Recent

	objectives Objectives
	flight     singleflight.Group

	mu        sync.Mutex
	account   *Account
	accountAt time.Time
	past      map[tally.Pair]*stats.Past
	pastAt    time.Time
}

// NewLooker returns a looker over the parts of one client. It does no I/O.
func NewLooker(c *stream.Client, v *view.View, s *stats.Store, o Objectives) *Looker {
	return &Looker{client: c, view: v, stats: s, recent: stats.NewRecent(s, KeepSums), objectives: o}
}

// Look takes a snapshot, or shares the one that is good still, and says what is wrong. The error is that of
// the snapshot.
func (l *Looker) Look(ctx context.Context) (*view.Snapshot, *Report, error) {
	s, err := l.view.Snapshot(ctx)
	if err != nil {
		return nil, nil, err
	}
	return s, l.Judge(ctx, s, nil), nil
}

// Judge says what is wrong as of a snapshot, with what was counted that is not summed up yet; nil: that is
// not known.
func (l *Looker) Judge(ctx context.Context, s *view.Snapshot, made *tally.Record) *Report {
	return Decide(l.Facts(ctx, s, made))
}

// Facts are what Judge decides by.
func (l *Looker) Facts(ctx context.Context, s *view.Snapshot, made *tally.Record) *Facts {
	f := &Facts{Snapshot: s, Server: stream.Connected(l.client.Conn()), Made: made, Objectives: l.objectives}
	f.Minutes, f.MinutesErr = l.Minutes(ctx, s.At)
	f.Account = l.accountOf(ctx)
	if f.NeedsPast() {
		f.Past = l.pastOf(ctx, s.At)
	}
	return f
}

// Minutes returns the sums of the last minutes, which are not to be changed. All who ask share one read.
func (l *Looker) Minutes(ctx context.Context, at time.Time) ([]*tally.Record, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return l.recent.Minutes(ctx, at)
}

// accountOf asks what the account stores and may. It is nil if that cannot be told.
func (l *Looker) accountOf(ctx context.Context) *Account {
	l.mu.Lock()
	known, at := l.account, l.accountAt
	l.mu.Unlock()
	if time.Since(at) < accountFor {
		return known
	}
	got, _, _ := l.flight.Do("account", func() (any, error) {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		var a *Account
		if info, err := l.client.JetStream().AccountInfo(ctx); err == nil {
			a = &Account{Used: int64(info.Store), Limit: info.Limits.MaxStore} //nolint:gosec // far below
			for _, t := range info.Tiers {
				if share(int64(t.Store), t.Limits.MaxStore) > share(a.Used, a.Limit) { //nolint:gosec // far below
					a = &Account{Used: int64(t.Store), Limit: t.Limits.MaxStore} //nolint:gosec // far below
				}
			}
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		l.account, l.accountAt = a, time.Now()
		return a, nil
	})
	a, _ := got.(*Account)
	return a
}

// pastOf reads what ran in the last day, nil if that cannot be read.
func (l *Looker) pastOf(ctx context.Context, at time.Time) map[tally.Pair]*stats.Past {
	l.mu.Lock()
	known, asked := l.past, l.pastAt
	l.mu.Unlock()
	if time.Since(asked) < pastFor {
		return known
	}
	got, _, _ := l.flight.Do("past", func() (any, error) {
		ctx, cancel := context.WithTimeout(ctx, 2*patience)
		defer cancel()
		past, err := l.stats.Past(ctx, at.Add(-pastOver))
		l.mu.Lock()
		defer l.mu.Unlock()
		if err == nil {
			l.past = past
		}
		l.pastAt = time.Now()
		return l.past, nil
	})
	past, _ := got.(map[tally.Pair]*stats.Past)
	return past
}
