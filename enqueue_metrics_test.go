package millhand_test

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
)

// Each job that a client was to enqueue is counted once, with what came of it.
func TestEnqueueMetrics(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		link := s.Link()
		c := client(t, link.Connect(t))
		middleware, collector := millhand.EnqueueMetrics()
		c.Use(middleware)
		registry := prometheus.NewPedanticRegistry()
		registry.MustRegister(collector)

		email := millhand.Raw{Name: "email"}
		if _, err := c.Enqueue(t.Context(), email, millhand.WithID("a")); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Enqueue(t.Context(), email, millhand.WithID("a")); err == nil {
			t.Error("an id was taken twice")
		}
		batch := []millhand.Request{
			{Args: email, Options: []millhand.EnqueueOption{millhand.WithID("a")}},
			{Args: email},
			{Args: email},
			{Args: millhand.Raw{Name: "import"}, Options: []millhand.EnqueueOption{millhand.WithQueue("mail")}},
		}
		if _, err := c.EnqueueMany(t.Context(), batch); err == nil {
			t.Error("an id was taken twice")
		}
		link.Watch(func(subject string) natstest.Fate {
			if strings.HasPrefix(subject, "millhand.default.") {
				return natstest.Lost
			}
			return natstest.Pass
		})
		if _, err := c.Enqueue(t.Context(), email); err == nil {
			t.Error("a job was stored that was lost")
		}

		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		got := make(map[string]float64)
		for _, f := range families {
			for _, m := range f.GetMetric() {
				var labels []string
				for _, l := range m.GetLabel() {
					labels = append(labels, l.GetValue())
				}
				got[strings.Join(labels, " ")] += m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
				if h := m.GetHistogram(); h != nil && h.GetSampleSum() < time.Second.Seconds() {
					t.Errorf("all of it took %v s, though an answer was lost", h.GetSampleSum())
				}
			}
		}
		for labels, want := range map[string]float64{
			"default stored email": 3, "default duplicate email": 2, "mail stored import": 1, "default failed email": 1, "": 4,
		} {
			if got[labels] != want {
				t.Errorf("%q is %v, want %v", labels, got[labels], want)
			}
		}
		if len(got) != 5 {
			t.Errorf("series %v", got)
		}
		if problems, err := promlint.NewWithMetricFamilies(families).Lint(); err != nil || len(problems) > 0 {
			t.Errorf("%v, %v", problems, err)
		}
	})
}
