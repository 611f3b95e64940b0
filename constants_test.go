package millhand_test

import (
	"testing"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/registry"
	"github.com/millhand/millhand/internal/supervisor"
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
