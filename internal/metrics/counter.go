package metrics

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// A counted is a counter of which there are thousands in a scrape: they share the pairs of their labels,
// which [prometheus.NewConstMetric] makes anew for each, and have in themselves what is written of them.
type counted struct {
	desc    *prometheus.Desc
	labels  []*dto.LabelPair
	value   float64
	counter dto.Counter
}

// count returns one with values for the labels of desc, in the order of the alphabet. They are its own.
func count(desc *prometheus.Desc, n uint64, labels ...*dto.LabelPair) prometheus.Metric {
	return &counted{desc: desc, labels: labels, value: float64(n)}
}

// Desc implements [prometheus.Metric].
func (c *counted) Desc() *prometheus.Desc { return c.desc }

// Write implements [prometheus.Metric]. Each is written once, by the scrape that it is made for.
func (c *counted) Write(m *dto.Metric) error {
	c.counter.Value = &c.value
	m.Label, m.Counter = c.labels, &c.counter
	return nil
}

// labelsOf returns a label with each of the values.
func labelsOf[V fmt.Stringer](name string, values []V) []*dto.LabelPair {
	labels := make([]*dto.LabelPair, len(values))
	for i, v := range values {
		labels[i] = label(name, v.String())
	}
	return labels
}
