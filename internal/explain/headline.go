package explain

import (
	"fmt"
	"strings"
)

// Headline says in a few words what the first reason is.
func (a *Answer) Headline() string {
	r := a.First()
	switch d := r.Data.(type) {
	case PoolData:
		return d.headline(r.Code)
	case RunData:
		if r.Code == Running {
			return "worker " + d.Worker + " runs it"
		}
	case StepData:
		if r.Code == Held {
			return "waits for " + strings.Join(d.Waits, "; ")
		}
		return "it is skipped"
	case WorkflowData:
		return fmt.Sprintf("%d of %d steps have ended", d.Ended, d.Steps)
	case BehindData:
		return "waits for its turn"
	}
	if text := map[Code]string{
		QueuePaused: "its queue is paused", TypePaused: "its type is paused", NoWorker: "no worker serves it",
		Expired: "it is too old to start", Outranked: "queues that go first have jobs", SlotsFull: "waits for a slot of a worker",
		AboutToStart: "is about to start", Unexplained: "no reason is known", NotDue: "waits for its time", Backoff: "waits for its next attempt",
		ScheduleLate: "the broker is late with it", WaitsInHand: "a worker has it, and no slot for it", WorkerSilent: "its worker does not answer",
		Unclaimed: "its worker is gone", Stuck: "its handler ignores that it is to stop", Cancelling: "it is being cancelled",
		BrokerUnready: "the broker is not ready", NotFound: "nothing is known of it",
	}[r.Code]; text != "" {
		return text
	}
	return ""
}

func (d PoolData) headline(c Code) string {
	switch c { //nolint:exhaustive // those of pools
	case RateExhausted:
		return fmt.Sprintf("waits for the rate of %s (%d of %d in %s used)", d.Pool, max(d.Used, d.Held), d.Limit, d.Per)
	case QuotaFull:
		return fmt.Sprintf("waits for a permit of quota %s (%d of %d used)", d.Pool, d.Used, d.Limit)
	}
	return "waits for a permit of quota " + d.Pool
}
