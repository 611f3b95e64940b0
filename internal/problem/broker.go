package problem

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand/internal/view"
)

// When something of the broker is a problem.
const (
	replicaBehind = 10 * time.Second
	fullShare     = 0.8
	historyLeast  = time.Hour
	percents      = 100
)

// broker says what is wrong with streams and consumers.
func (d *decision) broker() {
	for _, m := range d.Snapshot.Missing {
		what, ok := strings.CutPrefix(m.What, "stream ")
		switch {
		case ok && silent(m.Err):
			d.leaderless(what, "stream "+what, "it does not answer")
		case ok:
			d.unknown(m.What+": "+m.Why, Leaderless, Lagging, Disk)
		case m.What == view.MissingRegistry && silent(m.Err):
			d.leaderless("registry", "the registry", "it does not answer")
		}
	}
	for i := range d.Snapshot.Streams {
		s := &d.Snapshot.Streams[i]
		if s.Info == nil {
			continue
		}
		if s.Info.Cluster != nil && s.Leader == "" && d.Snapshot.Server.Cluster != "" {
			d.leaderless(s.Name, "stream "+s.Name, "it has no leader")
		}
		for _, r := range s.Replicas {
			d.lagging(s, &r)
		}
		d.room(s)
	}
	d.consumers()
	d.account()
}

// silent reports whether an error says that nobody answered.
func silent(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrTimeout) || errors.Is(err, nats.ErrNoResponders)
}

// leaderless is P15.
func (d *decision) leaderless(subject, about, is string) {
	d.say(sign{code: Leaderless, subject: subject, about: about, is: is + ": nothing goes on there", advice: command("see which server is away", "nats server report jetstream")})
}

// consumers is P15 of the consumers of streams that answer.
func (d *decision) consumers() {
	for i := range d.Snapshot.Queues {
		q := &d.Snapshot.Queues[i]
		for j := range q.Types {
			t := &q.Types[j]
			subject := q.Name + "/" + t.Name
			switch {
			case !t.Consumer || !q.Messages.Known():
			case t.Info == nil && q.Ready.Known():
				d.leaderless(subject, "consumer of type "+t.Name+" in queue "+q.Name, "it does not answer")
			case t.Info != nil && t.Info.Cluster != nil && t.Info.Cluster.Leader == "" && d.Snapshot.Server.Cluster != "":
				d.leaderless(subject, "consumer of type "+t.Name+" in queue "+q.Name, "it has no leader")
			}
		}
	}
}

// lagging is P16. A replica that is behind for a moment is as it should be.
func (d *decision) lagging(s *view.Stream, r *view.Replica) {
	g := sign{
		code: Lagging, subject: s.Name + " at " + r.Server, about: "stream " + s.Name,
		advice: command("see what keeps that server", "nats server report jetstream"),
	}
	switch {
	case r.Offline:
		g.is = fmt.Sprintf("its replica at %s is offline", r.Server)
	case r.Active > replicaBehind:
		g.since, g.is = d.at().Add(-r.Active), fmt.Sprintf("its replica at %s was last heard of %s ago", r.Server, short(r.Active))
	case !r.Current && r.Lag > 0:
		g.lasts, g.is = replicaBehind, fmt.Sprintf("its replica at %s is %s behind", r.Server, count(int(r.Lag), "operation", "operations")) //nolint:gosec // far below
	default:
		return
	}
	d.say(g)
}

// room is P17 of a stream.
func (d *decision) room(s *view.Stream) {
	cfg := &s.Info.Config
	if full := share(s.Bytes.Value, cfg.MaxBytes); cfg.Discard == jetstream.DiscardNew && full > fullShare {
		d.say(sign{
			code: Disk, subject: s.Name, about: "stream " + s.Name, is: fmt.Sprintf("%.0f %% of the bytes that it may have are used: nothing more can be stored when it is full", percents*full),
			advice: &Advice{Text: "start more workers, or raise its limit", Command: fmt.Sprintf("nats stream edit %s --max-bytes %d", s.Name, 2*cfg.MaxBytes)},
		})
	}
	history := d.at().Sub(s.FirstTime)
	if s.Name == d.Snapshot.Namespace+"-events" && cfg.MaxMsgs > 0 && s.Messages.Value >= cfg.MaxMsgs && history < historyLeast {
		d.say(sign{
			code: Disk, subject: s.Name, about: "stream " + s.Name, is: fmt.Sprintf("the %s events that are kept reach back for %s", thousands(cfg.MaxMsgs), short(history)),
			advice: command("keep more of them", "worker --keep-events %d", 2*cfg.MaxMsgs),
		})
	}
}

// account is P17 of all streams together. Without a limit of the account the disk is the server's to know.
func (d *decision) account() {
	if d.Account == nil {
		return
	}
	if full := share(d.Account.Used, d.Account.Limit); full > fullShare {
		d.say(sign{
			code: Disk, subject: "account", about: "the broker's account", is: fmt.Sprintf("%.0f %% of what it may store is used", percents*full),
			advice: &Advice{Text: "raise its limit, or keep less: worker --keep-results, --keep-dead"},
		})
	}
}

// share is which part of a limit is used, 0 if there is none.
func share(used, limit int64) float64 {
	if limit <= 0 {
		return 0
	}
	return float64(used) / float64(limit)
}
