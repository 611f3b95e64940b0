package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/stream"
)

// BulkTTL is for how long it is known how far a bulk has come.
const BulkTTL = 7 * 24 * time.Hour

// ErrBulkTaken says that another process has gone on with a bulk meanwhile.
var ErrBulkTaken = errors.New("another process goes on with it")

// A Bulk is how far the enqueue of many lines under one name has come. Of each of its first lines it
// is known what became of it. The zero value is that of a name that is new.
type Bulk struct {
	Lines   int    `json:"lines"`
	Refused int    `json:"refused,omitempty"` // of those
	SHA256  string `json:"sha256"`            // of their bytes, in hex
	Done    bool   `json:"done"`              // there were no more lines
}

// A BulkKeeper keeps how far a bulk has come, for one process. It is not safe for concurrent use.
type BulkKeeper struct {
	bucket *stream.Bucket
	key    string
	rev    uint64 // of what this process read or wrote last
}

// OpenBulk returns how far the bulk of a name has come, and who keeps it from now on.
func (s *Store) OpenBulk(ctx context.Context, name string) (*BulkKeeper, Bulk, error) {
	if err := job.CheckBulk(name); err != nil {
		return nil, Bulk{}, err
	}
	k := &BulkKeeper{bucket: s.bucket, key: bulkKey(name)}
	there, err := k.read(ctx)
	if err != nil || there.Value == nil {
		return k, Bulk{}, err
	}
	var b Bulk
	if err := json.Unmarshal(there.Value, &b); err != nil {
		return nil, Bulk{}, fmt.Errorf("the registry has something else under %s (%w): use another name, or remove it with 'nats kv del %s %s'",
			k.key, err, s.bucket.Name(), k.key)
	}
	return k, b, nil
}

// read returns the entry, one without a value if there is none.
func (k *BulkKeeper) read(ctx context.Context) (stream.Entry, error) {
	there, err := k.bucket.Last(ctx, k.key)
	if err != nil && !errors.Is(err, stream.ErrNotFound) {
		return stream.Entry{}, err
	}
	k.rev = there.Rev
	return there, nil
}

// Save keeps how far the bulk has come, and returns once that is stored. It tries for as long as the
// broker does not answer and ctx lasts. It returns [ErrBulkTaken] if another process has saved since.
func (k *BulkKeeper) Save(ctx context.Context, b Bulk) error {
	value := encode(b)
	for pause := stream.RetryPause; ; pause = min(2*pause, stream.MaxRetryPause) {
		rev, err := k.bucket.Put(ctx, stream.Write{Key: k.key, Value: value, TTL: BulkTTL, On: k.key, Rev: k.rev})
		if err == nil {
			k.rev = rev
			return nil
		}
		if errors.Is(err, stream.ErrConflict) {
			err = k.resolve(ctx, value)
		}
		if err == nil || errors.Is(err, ErrBulkTaken) || stream.IsRefusal(err) {
			return err
		}
		if stream.Sleep(ctx, pause) != nil {
			return err
		}
	}
}

// errExpired says that nothing is in the way any more.
var errExpired = errors.New("what was kept has expired")

// resolve decides what a refused write means: nil if it was stored before, and the answer was lost.
func (k *BulkKeeper) resolve(ctx context.Context, value []byte) error {
	there, err := k.read(ctx)
	switch {
	case err != nil:
		return err
	case string(there.Value) == string(value):
		return nil
	case there.Value != nil:
		return ErrBulkTaken
	}
	return errExpired
}
