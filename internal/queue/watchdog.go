package queue

import (
	"context"
	"log/slog"
)

// How a subscription is found that went deaf.
const (
	emptyBeforeInfo = 2 // standing requests in a row that expired empty before the backlog is looked at
	emptyWhileJobs  = 2 // and those at whose end jobs were waiting before it is made anew
)

// watch finds a subscription that went deaf: standing requests expire although jobs wait
// which may start. Jobs that come just after one expired prove nothing, so it takes two.
func (p *Puller) watch(ctx context.Context) error {
	p.empty++
	if p.empty < emptyBeforeInfo && p.deaf == 0 {
		return nil
	}
	p.empty = 0
	info, err := p.inspect(ctx)
	if err != nil || info == nil || info.Paused || info.NumPending == 0 || !p.inlet.Admits() {
		p.deaf = 0
		return err
	}
	if p.deaf++; p.deaf < emptyWhileJobs {
		return nil
	}
	p.deaf = 0
	p.inlet.Rebuilt()
	p.log.WarnContext(ctx, "pull requests expire although jobs wait: subscribing anew", slog.Uint64("waiting", info.NumPending))
	return p.reopen(ctx)
}
