package millhand_test

import (
	"testing"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/explain"
	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/registry"
	"github.com/millhand/millhand/internal/supervisor"
	"github.com/millhand/millhand/internal/view"
	"github.com/millhand/millhand/internal/worker"
)

// The constants have the words of those who write them.
func TestWordsOfConstants(t *testing.T) {
	t.Parallel()
	for _, tt := range [][2]string{
		{string(millhand.Scheduled), string(job.Scheduled)},
		{string(millhand.Ready), string(job.Ready)},
		{string(millhand.Retrying), string(job.Retrying)},
		{string(millhand.Succeeded), string(job.Succeeded)},
		{string(millhand.Dead), string(job.Dead)},
		{string(millhand.Cancelled), string(job.Cancelled)},
		{string(millhand.ReasonExhausted), job.ReasonExhausted},
		{string(millhand.ReasonPermanent), job.ReasonPermanent},
		{string(millhand.ReasonExpired), job.ReasonExpired},
		{string(millhand.ReasonMalformed), job.ReasonMalformed},
		{string(millhand.ReasonCrashed), job.ReasonCrashed},
		{string(millhand.ReasonSuperseded), job.ReasonSuperseded},
		{string(millhand.EventRetrying), string(job.EventRetrying)},
		{string(millhand.EventSnoozed), string(job.EventSnoozed)},
		{string(millhand.EventHandedBack), string(job.EventHandedBack)},
		{string(millhand.EventLost), string(job.EventLost)},
		{string(millhand.EventSucceeded), string(job.EventSucceeded)},
		{string(millhand.EventDead), string(job.EventDead)},
		{string(millhand.EventCancelled), string(job.EventCancelled)},
		{string(millhand.WorkerStarting), worker.Starting},
		{string(millhand.WorkerWorking), worker.Working},
		{string(millhand.WorkerDraining), worker.Draining},
		{string(millhand.WorkerStopped), worker.Stopped},
		{string(millhand.WorkerJoined), registry.Joined},
		{string(millhand.WorkerLeft), registry.Left},
		{string(millhand.WorkerExpired), registry.Expired},
		{string(millhand.WhyNotFound), string(explain.NotFound)},
		{string(millhand.WhySucceeded), string(explain.Succeeded)},
		{string(millhand.WhyDead), string(explain.Dead)},
		{string(millhand.WhyCancelled), string(explain.Cancelled)},
		{string(millhand.WhyHeld), string(explain.Held)},
		{string(millhand.WhySkipped), string(explain.Skipped)},
		{string(millhand.WhyWorkflow), string(explain.Workflow)},
		{string(millhand.WhyNotDue), string(explain.NotDue)},
		{string(millhand.WhyBackoff), string(explain.Backoff)},
		{string(millhand.WhyScheduleLate), string(explain.ScheduleLate)},
		{string(millhand.WhyQueuePaused), string(explain.QueuePaused)},
		{string(millhand.WhyTypePaused), string(explain.TypePaused)},
		{string(millhand.WhyNoWorker), string(explain.NoWorker)},
		{string(millhand.WhyExpired), string(explain.Expired)},
		{string(millhand.WhyQuotaFull), string(explain.QuotaFull)},
		{string(millhand.WhyQuotaHeldIdle), string(explain.QuotaHeldIdle)},
		{string(millhand.WhyQuotaLost), string(explain.QuotaLost)},
		{string(millhand.WhyRateExhausted), string(explain.RateExhausted)},
		{string(millhand.WhyOutranked), string(explain.Outranked)},
		{string(millhand.WhySlotsFull), string(explain.SlotsFull)},
		{string(millhand.WhyBehind), string(explain.Behind)},
		{string(millhand.WhyAboutToStart), string(explain.AboutToStart)},
		{string(millhand.WhyUnexplained), string(explain.Unexplained)},
		{string(millhand.WhyRunning), string(explain.Running)},
		{string(millhand.WhyWaitsInHand), string(explain.WaitsInHand)},
		{string(millhand.WhyWorkerSilent), string(explain.WorkerSilent)},
		{string(millhand.WhyUnclaimed), string(explain.Unclaimed)},
		{string(millhand.WhyStuck), string(explain.Stuck)},
		{string(millhand.WhyCancelling), string(explain.Cancelling)},
		{string(millhand.WhyBrokerUnready), string(explain.BrokerUnready)},
		{string(millhand.CountExact), string(view.Exact)},
		{string(millhand.CountAbout), string(view.About)},
		{string(millhand.CountAtLeast), string(view.AtLeast)},
		{string(millhand.CountUnknown), string(view.Unknown)},
		{string(millhand.TreeSupervisor), string(supervisor.KindSupervisor)},
		{string(millhand.TreeDynamic), string(supervisor.KindDynamic)},
		{string(millhand.TreeServer), string(supervisor.KindServer)},
		{string(millhand.TreeChild), string(supervisor.KindChild)},
		{string(millhand.TreeStarting), string(supervisor.StateStarting)},
		{string(millhand.TreeRunning), string(supervisor.StateRunning)},
		{string(millhand.TreeStopping), string(supervisor.StateStopping)},
		{string(millhand.TreeStopped), string(supervisor.StateStopped)},
		{string(millhand.TreeRestarting), string(supervisor.StateRestarting)},
	} {
		if tt[0] != tt[1] {
			t.Errorf("%q is written as %q", tt[0], tt[1])
		}
	}
}
