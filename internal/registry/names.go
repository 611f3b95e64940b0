package registry

import (
	"strconv"
	"strings"
	"time"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/slots"
)

// prefix is what all keys of a limit and its grants begin with.
func prefix(k slots.Key) string {
	if k.Rate {
		return rateKeys + "." + k.String()
	}
	return grantKeys + "." + k.String()
}

func limitKey(k slots.Key) string              { return prefix(k) + "." + limitToken }
func grantKey(k slots.Key, node string) string { return prefix(k) + "." + node }
func grantsOf(k slots.Key) string              { return prefix(k) + ".*" }

// First tokens of the bucket's keys, and last ones that are no node's.
const (
	grantKeys  = "grant"
	rateKeys   = "rate"
	keyKeys    = "key"
	pauseKeys  = "pause"
	nodeKeys   = "node"
	cancelKeys = "cancel"
	cronKeys   = "cron"
	bulkKeys   = "bulk"
	orderKeys  = "order"
	flowKeys   = "workflow"
	ownKeys    = "own"  // of pipelines: who has a partition
	wantKeys   = "want" // and who wants some
	pipeKeys   = "pipe" // that there are
	limitToken = "_limit"
	manyToken  = "_many" // in the place of a type: an order for all jobs that match
	lostToken  = "_lost" // in the place of a node: who has what was granted in a bucket that was lost
)

func keyOf(typ string) string  { return keyKeys + "." + typ }
func nodeKey(id string) string { return nodeKeys + "." + id }

// pauseOf is the key of a pause of a queue or, with a type, of that in the queue.
func pauseOf(queue, typ string) string {
	if typ == "" {
		return pauseKeys + "." + queue
	}
	return pauseKeys + "." + queue + "." + typ
}

// parsePauseKey reads what a pause is of.
func parsePauseKey(key string) (queue, typ string, ok bool) {
	rest, ok := strings.CutPrefix(key, pauseKeys+".")
	queue, typ, _ = strings.Cut(rest, ".")
	return queue, typ, ok
}

func cronKey(name string) string { return cronKeys + "." + name }

// workflowKey is there if a queue has workflows.
func workflowKey(queue string) string { return flowKeys + "." + queue }

func drainKey(node string) string { return orderKeys + "." + node }
func bulkKey(name string) string  { return bulkKeys + "." + name }

// settingFilters match the keys that a node follows.
func settingFilters(node string) []string {
	return []string{drainKey(node), grantKeys + ".*." + limitToken, rateKeys + ".*." + limitToken, keyKeys + ".*", pauseKeys + ".*", pauseKeys + ".*.*", flowKeys + ".*"}
}

// parseGrantKey reads what a limit or a grant is of, and the last token of its key: limitToken, or
// the node that has the grant.
func parseGrantKey(key string) (k slots.Key, last string, ok bool) {
	t := strings.Split(key, ".")
	if len(t) != 3 || (t[0] != grantKeys && t[0] != rateKeys) {
		return slots.Key{}, "", false
	}
	k = slots.Key{Rate: t[0] == rateKeys, Kind: slots.OfType, Name: t[1]}
	if kind, name, found := strings.Cut(t[1], "="); found {
		k.Kind, k.Name = kind, name
	}
	return k, t[2], k.Check() == nil
}

// A Limit says how many jobs may run at once or, if Per is set, start in any period of that
// length. A Limit of zero jobs is none.
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
	MaxJobs = 1_000_000
	MinPer  = 100 * time.Millisecond
	MaxPer  = 24 * time.Hour
)

// CheckLimit returns an error that names the rule which a key or its limit breaks.
func CheckLimit(k slots.Key, l Limit) error {
	if err := k.Check(); err != nil {
		return err
	}
	return l.check(k)
}

func (l Limit) check(k slots.Key) error {
	switch {
	case l.Jobs < 0 || l.Jobs > MaxJobs:
		return job.Invalid("limit", l.Jobs, "must be from 1 to %d, or 0 for none", MaxJobs)
	case k.Rate && (l.Per < MinPer || l.Per > MaxPer):
		return job.Invalid("period", l.Per, "must be from %v to %v", MinPer, MaxPer)
	case !k.Rate && l.Per != 0:
		return job.Invalid("period", l.Per, "a quota has none")
	}
	return nil
}

// IsLost reports whether a grant's node stands for all that was granted in a bucket that was lost.
func IsLost(node string) bool { return node == lostToken }
