package millhand

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/millhand/millhand/internal/autoscale"
	"github.com/millhand/millhand/internal/metrics"
	"github.com/millhand/millhand/internal/problem"
	"github.com/millhand/millhand/internal/stats"
	"github.com/millhand/millhand/internal/tally"
	"github.com/millhand/millhand/internal/view"
)

// ClusterCollector returns metrics of all queues, workers and limits for Prometheus, to be registered once
// and scraped from one process. Each scrape reads them from the broker, unless the last did within five
// seconds, at a cost that does not depend on how many jobs there are. What could not be read is absent;
// if the broker does not answer, the scrape fails. docs/operations.md describes them.
func (c *Client) ClusterCollector() prometheus.Collector {
	look := view.New(view.Config{Client: c.js, Store: c.store, Registry: c.registry, Fresh: metrics.ClusterFor})
	looker := problem.NewLooker(c.js, look, stats.NewStore(c.js, c.log), nil)
	return metrics.NewCluster(looker.Look, func(ctx context.Context, s *view.Snapshot) map[string]float64 {
		minutes, err := looker.Minutes(ctx, s.At)
		if err != nil {
			return nil
		}
		return slotsWanted(s, minutes)
	})
}

// slotsWanted returns how many slots the jobs of each type want, by the sums of the last minutes; nil if that
// is not known.
func slotsWanted(s *view.Snapshot, minutes []*tally.Record) map[string]float64 {
	if len(minutes) == 0 {
		return nil
	}
	until := minutes[len(minutes)-1].At.Add(time.Minute)
	series := tally.NewSeries(tally.Span{From: until.Add(-autoscale.Window), Until: until, Step: time.Minute}, tally.ByPair, nil)
	for _, m := range minutes {
		series.Add(m)
	}
	a, err := autoscale.Decide(autoscale.FactsOf(s, series), autoscale.Query{})
	if err != nil {
		return nil
	}
	slots := make(map[string]float64, len(a.Types))
	for _, t := range a.Types {
		slots[t.Type] = t.Slots
	}
	return slots
}
