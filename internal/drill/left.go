package drill

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/millhand/millhand/internal/registry"
	"github.com/millhand/millhand/internal/stream"
)

// awaitEmpty waits until the queue is empty, or for a time. A worker that was killed between the event of an end and
// its acknowledgement has left a message: when its lease is over, one that works is handed it, and acknowledges it. So
// the workers are not to go before.
func (c *conductor) awaitEmpty(ctx context.Context, within time.Duration) error {
	for end := time.Now().Add(within); ; {
		info, err := c.Stream.Info(ctx, c.stream)
		if err != nil {
			return err
		}
		if info.State.Msgs <= 1 || time.Now().After(end) { // the pin
			return nil
		}
		if err := stream.Sleep(ctx, lookEach); err != nil {
			return err
		}
	}
}

// left notes what is there when all workers are gone.
func (c *conductor) left(ctx context.Context, o *Observations) (err error) {
	o.Ended = time.Now()
	if err := c.read(ctx); err != nil { // what came last
		return err
	}
	o.Events = c.events
	o.Records, o.Disturbances = sortedRecords(c.workers.records), c.workers.disturbances
	// What workers that were killed have left ends by itself.
	for end := time.Now().Add(2 * lease); ; {
		asked := time.Now()
		info, err := c.Stream.Info(ctx, c.stream)
		if err != nil {
			return err
		}
		o.Offset = asked.Add(time.Since(asked) / 2).Sub(info.TimeStamp)
		o.Messages = int(info.State.Msgs) - 1
		if o.Keys, err = c.keys(ctx); err != nil {
			return err
		}
		if o.Messages == 0 && len(o.Keys) == 0 {
			return nil
		}
		if time.Now().After(end) {
			if o.Messages > 0 {
				o.Messages, err = c.unacknowledged(ctx, info.State.FirstSeq+1)
			}
			return err
		}
		if err := stream.Sleep(ctx, lookEach); err != nil {
			return err
		}
	}
}

// unacknowledged counts the messages from a sequence on that were not acknowledged. In a cluster the broker may keep
// one that was, which workers remove after a while.
func (c *conductor) unacknowledged(ctx context.Context, from uint64) (n int, err error) {
	list, err := c.Stream.Consumers(ctx, c.stream)
	if err != nil {
		return 0, err
	}
	floors := make(map[string]uint64, len(list.Infos))
	for _, info := range list.Infos {
		floors[info.Config.FilterSubject] = info.AckFloor.Stream
	}
	for {
		m, err := c.Stream.Next(ctx, c.stream, ">", from)
		if errors.Is(err, stream.ErrNotFound) {
			return n, nil
		}
		if err != nil {
			return n, err
		}
		if !isBelow(floors, m.Subject, m.Seq) {
			n++
		}
		from = m.Seq + 1
	}
}

// isBelow reports whether a consumer of a message's type has all acknowledged up to it.
func isBelow(floors map[string]uint64, subject string, seq uint64) bool {
	ofType := subject[:strings.LastIndexByte(subject, '.')+1] + "*"
	return seq <= floors[ofType]
}

// keys are the permits of the drill's type that somebody has, and the presences of its workers.
func (c *conductor) keys(ctx context.Context) (keys []string, err error) {
	entries, err := c.Registry.Bucket().Peek(ctx, "grant."+c.types[held]+".*")
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if e.Value != nil && registry.OfWorkers(e.Key) {
			keys = append(keys, e.Key)
		}
	}
	nodes, err := c.Registry.Nodes(ctx)
	for i := range nodes {
		if strings.HasPrefix(nodes[i].ID, "drill-"+c.workers.tag+"-") {
			keys = append(keys, "node."+nodes[i].ID)
		}
	}
	return keys, err
}
