package registry

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/millhand/millhand/internal/job"
)

// The kinds of pools.
const (
	OfType  = "type"
	OfKey   = "key"
	OfQueue = "queue"
)

// A PoolKey names what a limit holds for: the jobs of a type, those of all types that share a
// key, or those of a queue.
type PoolKey struct {
	Rate bool   // so many starts in a period, instead of so many at once
	Kind string // OfType, OfKey or OfQueue
	Name string
}

// String is the pool as it stands in keys and logs, but for its being a rate.
func (p PoolKey) String() string {
	if p.Kind == OfType {
		return p.Name
	}
	return p.Kind + "=" + p.Name
}

// prefix is what all keys of the pool begin with.
func (p PoolKey) prefix() string {
	if p.Rate {
		return rateKeys + "." + p.String()
	}
	return grantKeys + "." + p.String()
}

func (p PoolKey) limitKey() string            { return p.prefix() + "." + limitToken }
func (p PoolKey) grantKey(node string) string { return p.prefix() + "." + node }
func (p PoolKey) all() string                 { return p.prefix() + ".*" }

// check returns an error that names the rule which p breaks.
func (p PoolKey) check() error {
	switch p.Kind {
	case OfType:
		return job.CheckType(p.Name)
	case OfKey:
		return job.CheckKey(p.Name)
	case OfQueue:
		return job.CheckQueue(p.Name)
	}
	return fmt.Errorf("limit of a %q: want a type, a key or a queue", p.Kind)
}

// First tokens of the bucket's keys, and last ones that are no node's.
const (
	grantKeys  = "grant"
	rateKeys   = "rate"
	keyKeys    = "key"
	pauseKeys  = "pause"
	nodeKeys   = "node"
	limitToken = "_limit"
	lostToken  = "_lost" // in the place of a node: who has what was granted in a bucket that was lost
)

func keyOf(typ string) string     { return keyKeys + "." + typ }
func pauseOf(queue string) string { return pauseKeys + "." + queue }
func nodeKey(id string) string    { return nodeKeys + "." + id }

// settings are the keys that a node follows.
func settings() []string {
	return []string{grantKeys + ".*." + limitToken, rateKeys + ".*." + limitToken, keyKeys + ".*", pauseKeys + ".*"}
}

// parsePool reads the pool and the last token, a node or limitToken, of a key.
func parsePool(key string) (p PoolKey, last string, ok bool) {
	t := strings.Split(key, ".")
	if len(t) != 3 || (t[0] != grantKeys && t[0] != rateKeys) {
		return PoolKey{}, "", false
	}
	p = PoolKey{Rate: t[0] == rateKeys, Kind: OfType, Name: t[1]}
	if kind, name, found := strings.Cut(t[1], "="); found {
		p.Kind, p.Name = kind, name
	}
	return p, t[2], p.check() == nil
}

// A Limit says how many jobs of a pool may run at once or, if Per is set, start in any
// period of that length. A Limit of zero jobs is none.
type Limit struct {
	Jobs int
	Per  time.Duration
}

// String is the limit as people write it, "5" or "100/1m0s".
func (l Limit) String() string {
	if l.Per == 0 {
		return strconv.Itoa(l.Jobs)
	}
	return strconv.Itoa(l.Jobs) + "/" + l.Per.String()
}

// The bounds of a limit.
const (
	maxJobs = 1_000_000
	minPer  = 100 * time.Millisecond
	maxPer  = 24 * time.Hour
)

// CheckLimit returns an error that names the rule which a limit of the pool breaks.
func CheckLimit(p PoolKey, l Limit) error {
	if err := p.check(); err != nil {
		return err
	}
	return l.check(p)
}

func (l Limit) check(p PoolKey) error {
	switch {
	case l.Jobs < 0 || l.Jobs > maxJobs:
		return fmt.Errorf("limit %d: must be from 1 to %d, or 0 for none", l.Jobs, maxJobs)
	case p.Rate && (l.Per < minPer || l.Per > maxPer):
		return fmt.Errorf("period %v: must be from %v to %v", l.Per, minPer, maxPer)
	case !p.Rate && l.Per != 0:
		return errors.New("a quota has no period")
	}
	return nil
}
