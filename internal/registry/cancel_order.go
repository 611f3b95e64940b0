package registry

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/stream"
)

const (
	// orderTTL is how long an order holds unless it is renewed. One that is carried out holds on for
	// as long: until then, every lease has ended of what was delivered before it was given.
	orderTTL = 10 * time.Minute

	// maxLives is how many lives of one id have an order at the same time.
	maxLives = 16
)

// orderValue is an order as the bucket has it. Queue, type and id of one job are in its key.
type orderValue struct {
	Lives []string `json:"lives,omitempty"`

	Type   string      `json:"type,omitempty"`
	Before time.Time   `json:"before,omitzero"`
	States []job.State `json:"states,omitempty"`
	DueBy  time.Time   `json:"due_by,omitzero"`
	Group  string      `json:"group,omitempty"`

	Grace  string    `json:"grace"`
	Reason string    `json:"reason,omitempty"`
	By     string    `json:"by,omitempty"`
	At     time.Time `json:"at"`
	Done   bool      `json:"done,omitempty"`
}

func orderKey(o *job.Order) string {
	if o.Many() {
		return strings.Join([]string{cancelKeys, o.Queue, manyToken, o.Nonce}, ".")
	}
	return strings.Join([]string{cancelKeys, o.Queue, o.Type, o.ID}, ".")
}

func encodeOrder(o *job.Order) []byte {
	v := orderValue{
		Lives: o.Lives, Before: o.Before, States: o.States, DueBy: o.DueBy, Group: o.Group,
		Grace: o.Grace.String(), Reason: o.Reason, By: o.By, At: o.At, Done: o.Done,
	}
	if o.Many() {
		v.Type = o.Type
	}
	return encode(v)
}

func decodeOrder(key string, value []byte, rev uint64) (*job.Order, error) {
	t := strings.Split(key, ".")
	var v orderValue
	if err := json.Unmarshal(value, &v); err != nil {
		return nil, err
	}
	grace, err := time.ParseDuration(v.Grace)
	if err != nil || len(t) != 4 || t[0] != cancelKeys {
		return nil, errUnreadable
	}
	o := &job.Order{
		Queue: t[1], Lives: v.Lives, Before: v.Before, States: v.States, DueBy: v.DueBy, Group: v.Group,
		Grace: grace, Reason: v.Reason, By: v.By, At: v.At, Done: v.Done, Rev: rev,
	}
	switch {
	case len(v.Lives) > 0:
		o.Type, o.ID = t[2], t[3]
	case t[2] == manyToken && !v.Before.IsZero():
		o.Type, o.Nonce = v.Type, t[3]
	default:
		return nil, errUnreadable
	}
	return o, nil
}

// GiveOrder writes an order, and notes its revision in it. What was ordered before for other lives of
// the id stays ordered.
func (s *Store) GiveOrder(ctx context.Context, o *job.Order) error {
	return s.writeOrder(ctx, o, func(there *job.Order) *job.Order {
		given := *o
		if there != nil && !o.Many() {
			lives := slices.DeleteFunc(slices.Clone(there.Lives), func(life string) bool { return life == o.Life() })
			given.Lives = append(lives[max(0, len(lives)-maxLives+1):], o.Life())
		}
		return &given
	})
}

// OrderDone notes that an order is carried out. It holds on until it expires.
func (s *Store) OrderDone(ctx context.Context, o *job.Order) error {
	return s.writeOrder(ctx, o, func(there *job.Order) *job.Order {
		if there == nil {
			there = o
		}
		if there.Done && there.Rev != o.Rev || there.Life() != o.Life() {
			return nil // somebody else was first, or goes on with another life
		}
		done := *there
		done.Done = true
		return &done
	})
}

// RenewOrder lets an order hold for longer, or has this caller carry on with it in place of whoever
// did. It returns [stream.ErrConflict] if somebody else wrote to it meanwhile.
func (s *Store) RenewOrder(ctx context.Context, o *job.Order) error {
	key := orderKey(o)
	rev, err := s.bucket.Put(ctx, stream.Write{Key: key, Value: encodeOrder(o), TTL: orderTTL, On: key, Rev: o.Rev})
	if err == nil {
		o.Rev = rev
	}
	return err
}

// WithdrawOrder ends an order of many at once: what it has not reached runs.
func (s *Store) WithdrawOrder(ctx context.Context, o *job.Order) error {
	_, err := s.bucket.Put(ctx, stream.Write{Key: orderKey(o), Remove: true, TTL: stream.MarkerTTL})
	return err
}

// writeOrder changes an order from what is there, nil for none, and notes what it is then in o. A
// nil change is none.
func (s *Store) writeOrder(ctx context.Context, o *job.Order, change func(there *job.Order) *job.Order) error {
	ctx, cancel := context.WithTimeout(ctx, setWithin)
	defer cancel()
	for {
		err := s.writeOrderOnce(ctx, o, change)
		if err == nil || stream.IsRefusal(err) {
			return err
		}
		if stream.Sleep(ctx, setPause+rand.N(setPause)) != nil {
			return err
		}
	}
}

func (s *Store) writeOrderOnce(ctx context.Context, o *job.Order, change func(there *job.Order) *job.Order) error {
	key := orderKey(o)
	e, err := s.bucket.Last(ctx, key)
	if err != nil && !errors.Is(err, stream.ErrNotFound) {
		return err
	}
	var there *job.Order
	if err == nil && e.Value != nil {
		there, _ = decodeOrder(key, e.Value, e.Rev) // what cannot be read is replaced
	}
	next := change(there)
	if next == nil {
		return nil
	}
	rev, err := s.bucket.Put(ctx, stream.Write{Key: key, Value: encodeOrder(next), TTL: orderTTL, On: key, Rev: e.Rev})
	if err == nil {
		*o = *next
		o.Rev = rev
	}
	return err
}
