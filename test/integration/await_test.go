package integration

import (
	"context"
	"slices"
	"sync"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand"
)

// A thousand wait for their jobs through one client. The leader of the events dies while all of them
// wait, and the leader of the queue while the jobs run: each is told its own end.
func TestManyAwaitAcrossElections(t *testing.T) {
	t.Parallel()
	const jobs = 1000
	nodes := startCluster(t, func(string) {})
	all := urls(nodes)
	c := newClient(t, all)
	until(t, "jobs are taken", func() bool {
		_, err := c.Enqueue(t.Context(), millhand.Raw{Name: "sleep", Payload: []byte(`{"for":"0s"}`)})
		return err == nil
	})
	batch := make([]millhand.Request, jobs)
	for i := range batch {
		batch[i].Args = millhand.Raw{Name: "sleep", Payload: []byte(`{"for":"20ms"}`)}
	}
	refs, err := c.EnqueueMany(t.Context(), batch)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	var waiting, some sync.WaitGroup
	some.Add(jobs / 4)
	for i, ref := range refs {
		waiting.Go(func() {
			info, err := c.Await(ctx, ref)
			if err != nil || info.Ref != ref || info.State != millhand.Succeeded {
				t.Errorf("job %d: %+v, %v", i, info, err)
			}
			if i < jobs/4 {
				some.Done()
			}
		})
	}
	startWorker(t, all, "-c", "4")
	killed := killLeader(t, nodes, "millhand-events")
	some.Wait()
	killed.start(t)
	killLeader(t, nodes, "millhand-queue-default")
	waiting.Wait()
}

// killLeader kills the node that leads a stream, and returns it.
func killLeader(t *testing.T, nodes []*brokerProcess, stream string) *brokerProcess {
	t.Helper()
	js, err := jetstream.New(connect(t, urls(nodes)))
	if err != nil {
		t.Fatal(err)
	}
	leader := ""
	until(t, "leader of "+stream, func() bool {
		s, err := js.Stream(t.Context(), stream)
		if err != nil || s.CachedInfo().Cluster == nil {
			return false
		}
		leader = s.CachedInfo().Cluster.Leader
		return leader != ""
	})
	i := slices.IndexFunc(nodes, func(n *brokerProcess) bool { return n.Name == leader })
	nodes[i].kill(t)
	return nodes[i]
}
