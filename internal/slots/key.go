package slots

import (
	"fmt"

	"github.com/millhand/millhand/internal/job"
)

// The kinds of keys.
const (
	OfType  = "type"  // the jobs of a type, in all queues
	OfKey   = "key"   // the jobs of all types that share a key
	OfQueue = "queue" // the jobs of a queue
)

// ofQueueHere is the kind of a limit that this node alone has.
const ofQueueHere = "queue here"

// A Key names a limit that all nodes share: whose jobs it holds for, and what it counts.
type Key struct {
	Rate bool   // the starts in a period, instead of the jobs at once
	Kind string // OfType, OfKey or OfQueue
	Name string // of the type, the key or the queue
}

// String is the key as it stands in logs and in the registry, except for its being a rate.
func (k Key) String() string {
	if k.Kind == OfType {
		return k.Name
	}
	return k.Kind + "=" + k.Name
}

// Check returns an error that names the rule which k breaks.
func (k Key) Check() error {
	switch k.Kind {
	case OfType:
		return job.CheckType(k.Name)
	case OfKey:
		return job.CheckKey(k.Name)
	case OfQueue:
		return job.CheckQueue(k.Name)
	}
	return fmt.Errorf("limit of a %q: want a type, a key or a queue", k.Kind)
}
