package registry

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/slots"
	"github.com/millhand/millhand/internal/stream"
)

const (
	setWithin = 5 * time.Second       // how long a setting is tried to be written
	setPause  = 50 * time.Millisecond // between two tries, up to twice that
)

// SetLimit sets the limit of a key for all nodes, or removes it if it is of zero jobs. It is a
// person's word: no worker's configuration replaces it. A limit that is so already is left
// alone. The error is about a rule that k or l breaks, or says that the broker did not answer.
func (s *Store) SetLimit(ctx context.Context, k slots.Key, l Limit) error {
	if err := CheckLimit(k, l); err != nil {
		return err
	}
	value := encodeLimit(l, ByPerson, s.by())
	return s.set(ctx, settingOf(k), func(there stream.Entry) ([]byte, bool) {
		set, ok := decodeLimitOf(k, there.Value)
		same := ok && set == l && sourceOf(there.Value) == ByPerson // whoever that was
		return value, !same && differs(there, value)
	})
}

// SetKey makes a type share the limits of a key, or none if that is empty: a person's word, as
// [Store.SetLimit] is.
func (s *Store) SetKey(ctx context.Context, typ, key string) error {
	if err := checkKey(typ, key); err != nil {
		return err
	}
	return s.set(ctx, keySetting(typ), to(encodeKey(key, ByPerson)))
}

func checkKey(typ, key string) error {
	if err := job.CheckType(typ); err != nil || key == "" {
		return err
	}
	return job.CheckKey(key)
}

// A setting is a key that people and configurations write.
type setting struct {
	key string
	on  string // what must not be written between the read and the write, wildcards allowed

	ttl time.Duration // of what is written, in whole seconds; 0: it stays
}

// settingOf is that of a limit. Its condition covers all grants: one that was computed from the
// old limit must not come after the new one, nor in the same moment.
func settingOf(k slots.Key) setting { return setting{key: limitKey(k), on: grantsOf(k)} }

func keySetting(typ string) setting { return setting{key: keyOf(typ), on: keyOf(typ)} }

func pauseSetting(queue, typ string) setting {
	return setting{key: pauseOf(queue, typ), on: pauseOf(queue, typ)}
}

func cronSetting(name string) setting { return setting{key: cronKey(name), on: cronKey(name)} }

// An edit decides from what is there, a nil value if nothing is, what a setting becomes: nil to
// remove it. It may be asked several times, until what it read is still there when it is written.
type edit func(there stream.Entry) (value []byte, change bool)

// to is the edit to a value, whatever is there.
func to(value []byte) edit {
	return func(there stream.Entry) ([]byte, bool) { return value, differs(there, value) }
}

// differs reports whether a setting is anything but value, nil for none.
func differs(there stream.Entry, value []byte) bool {
	return (there.Value == nil) != (value == nil) || string(there.Value) != string(value)
}

// set edits a setting. It tries again while others write or the broker does not answer; a
// refusal it returns at once.
func (s *Store) set(ctx context.Context, what setting, e edit) error {
	ctx, cancel := context.WithTimeout(ctx, setWithin)
	defer cancel()
	if _, err := s.bucket.Open(ctx); err != nil {
		return err
	}
	for {
		err := s.setOnce(ctx, what, e)
		if err == nil || stream.IsRefusal(err) {
			return err
		}
		if stream.Sleep(ctx, setPause+rand.N(setPause)) != nil {
			return err
		}
	}
}

// setOnce edits a setting once. Most often it is so already, which one read tells. Otherwise it
// reads the newest revision of the condition and then the setting again, so that whatever is
// written after the edit was decided refuses the write. It reads nothing else: the grants of a
// limit do not matter for changing it.
func (s *Store) setOnce(ctx context.Context, what setting, e edit) error {
	there, err := s.getSetting(ctx, what)
	if err != nil {
		return err
	}
	if _, change := e(there); !change {
		return nil
	}
	newest, err := s.bucket.Last(ctx, what.on)
	if err != nil && !errors.Is(err, stream.ErrNotFound) {
		return err
	}
	if there, err = s.getSetting(ctx, what); err != nil {
		return err
	}
	value, change := e(there)
	if !change {
		return nil
	}
	_, err = s.bucket.Put(ctx, stream.Write{Key: what.key, Value: value, Remove: value == nil, TTL: ttlOf(value, what.ttl), On: what.on, Rev: newest.Rev})
	return err
}

// ttlOf is that of a value; a removal has none.
func ttlOf(value []byte, ttl time.Duration) time.Duration {
	if value == nil {
		return 0
	}
	return ttl
}

// getSetting returns what is there, an entry without a value if nothing is.
func (s *Store) getSetting(ctx context.Context, what setting) (stream.Entry, error) {
	there, err := s.bucket.Get(ctx, what.key)
	if errors.Is(err, stream.ErrNotFound) {
		return stream.Entry{}, nil
	}
	return there, err
}

// putFirst writes a key that was never written, or returns [stream.ErrConflict].
func (s *Store) putFirst(ctx context.Context, w stream.Write) error {
	w.On, w.Rev = w.Key, 0
	_, err := s.bucket.Put(ctx, w)
	return err
}
