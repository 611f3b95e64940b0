package web

import (
	"context"
	"log/slog"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/millhand/millhand"
)

// Paths that programs ask, of a worker also where it serves no dashboard. Whoever asks has to be known as for
// any page.
const (
	MetricsPath   = "/metrics/cluster"
	AutoscalePath = apiPath + "/autoscale"
)

// newMetrics serves the metrics of the cluster, computed when they are asked for and shared for five seconds.
func newMetrics(client *millhand.Client, log *slog.Logger) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(client.ClusterCollector())
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		EnableOpenMetrics: true, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	})
}

// ofAll answers with what is of all queues and types, which is for those who see them all.
func (h *Handler) ofAll(handler http.Handler) plainFunc {
	return func(ctx context.Context, v *visit) error {
		if h.opts.Visible != nil {
			if l, err := v.look(ctx); err != nil {
				return err
			} else if l.Partial {
				return &problem{status: http.StatusForbidden, title: "This is of all queues", text: "You, " + v.user.Name + ", do not see all of them.", hint: "Ask who runs this dashboard for a role that does."}
			}
		}
		handler.ServeHTTP(v.w, v.r)
		return nil
	}
}
