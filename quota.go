package millhand

import (
	"context"
	"time"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/registry"
	"github.com/millhand/millhand/internal/slots"
)

// The bounds of a [Quota]: of its limit, which is 0 for none, and of the period of a rate.
const (
	MaxLimit  = registry.MaxJobs // 1,000,000
	MinPeriod = registry.MinPer  // 100 ms
	MaxPeriod = registry.MaxPer  // 24 h
)

// A Quota limits, across all workers, the jobs of a type, of all types that share a key, or of a
// queue. It holds for what runs at once or, with Per, for what starts in any period of that
// length. A job that may not start waits as ready, and jobs of other types are not held up.
type Quota struct {
	Type  string        `json:"type,omitempty"`  // one of these three is set
	Key   string        `json:"key,omitempty"`   // of a resource that several types use
	Queue string        `json:"queue,omitempty"` //
	Types []string      `json:"types,omitempty"` // that share the key from now on; others that did still do
	Limit int           `json:"limit"`           // 0 removes the limit
	Per   time.Duration `json:"per,omitzero"`    // in JSON it is in nanoseconds
}

// SetQuota sets, changes or removes a limit while everything runs: workers act on it within a
// second. What runs above a lowered limit goes on to its end. The limits of a type, its key and
// its queue are independent: all of them hold.
//
// What SetQuota sets stays until it is removed or handed back with [Client.ResetQuota]. No
// worker's configuration replaces it, so a limit that was changed in an emergency survives a
// rolling restart. A limit that was removed is set again by the next worker that starts with it
// in its configuration; to lift such a limit for longer, set a high one.
//
// It returns [ErrInvalid] for a quota that breaks a rule.
func (c *Client) SetQuota(ctx context.Context, q Quota) error {
	if err := q.check(); err != nil {
		return invalid(err)
	}
	return publicError(q.set(ctx, c.registry))
}

// ResetQuota hands a limit that a person set back to the configuration of the workers, and so it
// does with the key of each of q.Types. The limit holds as it is until a worker with a limit of
// its own for the same jobs replaces it: within a second if one runs, else when one starts. If no
// worker has one, it stays.
//
// Limit is ignored, and Per matters only as zero for a quota and anything else for a rate. A
// limit that no person set, or none at all, is left alone. It returns [ErrInvalid] for a quota
// that breaks a rule.
func (c *Client) ResetQuota(ctx context.Context, q Quota) error {
	q.Limit = 0
	if err := q.check(); err != nil {
		return invalid(err)
	}
	if err := c.registry.ResetLimit(ctx, q.key()); err != nil {
		return publicError(err)
	}
	for _, t := range q.Types {
		if err := c.registry.ResetKey(ctx, t); err != nil {
			return publicError(err)
		}
	}
	return nil
}

// Paused returns the queues that are paused, each with the time when it was. That is zero for a
// pause that another program wrote in a way that cannot be read: it holds all the same.
func (c *Client) Paused(ctx context.Context) (map[string]time.Time, error) {
	pauses, err := c.registry.Paused(ctx)
	if err != nil {
		return nil, publicError(err)
	}
	since := make(map[string]time.Time, len(pauses))
	for queue, p := range pauses {
		since[queue] = p.Since
	}
	return since, nil
}

// Pause keeps all workers from taking jobs of a queue, until [Client.Resume]: workers heed it
// within a second, and what runs goes on to its end.
func (c *Client) Pause(ctx context.Context, queue string) error {
	return publicError(c.registry.Pause(ctx, queue))
}

// Resume ends a pause; of a queue that is not paused, it does nothing.
func (c *Client) Resume(ctx context.Context, queue string) error {
	return publicError(c.registry.Resume(ctx, queue))
}

// check returns an error that names the rule which q breaks.
func (q Quota) check() error {
	named := 0
	for _, name := range []string{q.Type, q.Key, q.Queue} {
		if name != "" {
			named++
		}
	}
	switch {
	case named != 1:
		return &job.InvalidError{What: "quota", Rule: "must name one of type, key and queue"}
	case len(q.Types) > 0 && q.Key == "":
		return &job.InvalidError{What: "quota", Rule: "must name the key that its types share"}
	}
	for _, t := range q.Types {
		if err := job.CheckType(t); err != nil {
			return about("quota", err)
		}
	}
	if err := registry.CheckLimit(q.key(), q.limit()); err != nil {
		return about("quota", err)
	}
	return nil
}

func (q Quota) key() slots.Key {
	p := slots.Key{Kind: slots.OfType, Name: q.Type, Rate: q.Per != 0}
	switch {
	case q.Key != "":
		p.Kind, p.Name = slots.OfKey, q.Key
	case q.Queue != "":
		p.Kind, p.Name = slots.OfQueue, q.Queue
	}
	return p
}

func (q Quota) limit() registry.Limit { return registry.Limit{Jobs: q.Limit, Per: q.Per} }

// set writes q: the limit first, so that no type belongs to a key without one.
func (q Quota) set(ctx context.Context, s *registry.Store) error {
	if err := s.SetLimit(ctx, q.key(), q.limit()); err != nil {
		return err
	}
	for _, t := range q.Types {
		if err := s.SetKey(ctx, t, q.Key); err != nil {
			return err
		}
	}
	return nil
}

// QuotaUsage is a limit and what workers have of it. A permit is held by a worker that may
// use it, and used by a job that runs, or that is about to.
type QuotaUsage struct {
	Quota
	Source  QuotaSource  `json:"source"` // who set it
	SetAt   time.Time    `json:"set_at"` // when, by the broker's clock
	Held    int          `json:"held"`
	Used    int          `json:"used"`
	Wanted  int          `json:"wanted"` // what workers could use now, those in use included
	Workers []QuotaShare `json:"workers"`
}

// A QuotaSource says who set a limit, and so who may change it.
type QuotaSource string

// The sources of limits.
const (
	SetByPerson QuotaSource = "person" // with SetQuota, or by another program: it stays until a person removes it or hands it back
	SetByConfig QuotaSource = "config" // by a worker's configuration, which may replace it when a worker starts
	SetByReset  QuotaSource = "reset"  // by a person who handed it back: the next configuration replaces it
)

// A QuotaShare is a worker's part in a limit, as of its last word.
type QuotaShare struct {
	Worker string `json:"worker"` // its id
	Held   int    `json:"held"`
	Used   int    `json:"used"`
	Wanted int    `json:"wanted"`
}

// Quotas returns all limits: of types first, then of queues and keys.
func (c *Client) Quotas(ctx context.Context) ([]QuotaUsage, error) {
	all, err := c.registry.Usages(ctx)
	if err != nil {
		return nil, publicError(err)
	}
	usages := make([]QuotaUsage, 0, len(all))
	for _, p := range all {
		usages = append(usages, usageOf(p))
	}
	return usages, nil
}

func usageOf(p registry.Usage) QuotaUsage {
	u := QuotaUsage{
		Quota:  Quota{Limit: p.Limit.Jobs, Per: p.Limit.Per, Types: p.Types},
		Source: sourceOf(p.Source), SetAt: p.Set, Workers: []QuotaShare{},
	}
	switch p.Kind {
	case slots.OfType:
		u.Type = p.Name
	case slots.OfKey:
		u.Key = p.Name
	case slots.OfQueue:
		u.Queue = p.Name
	}
	for _, s := range p.Grants {
		u.Held += s.Held
		u.Used += s.Used
		u.Wanted += s.Want
		u.Workers = append(u.Workers, QuotaShare{Worker: s.Node, Held: s.Held, Used: s.Used, Wanted: s.Want})
	}
	return u
}

func sourceOf(s registry.Source) QuotaSource {
	switch s {
	case registry.ByConfig:
		return SetByConfig
	case registry.HandedBack:
		return SetByReset
	case registry.ByPerson:
	}
	return SetByPerson
}
