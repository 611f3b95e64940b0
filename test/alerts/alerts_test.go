package alerts

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
)

// notYet are metrics that a single server in its first minute does not have.
var notYet = []string{"millhand_autoscale_slots_wanted", "millhand_stream_replica_lag_messages"}

func rules(t *testing.T) []rulefmt.Rule {
	t.Helper()
	groups, errs := rulefmt.ParseFile(filepath.Join(root, "docs/alerts/millhand.rules.yaml"), false, model.UTF8Validation, parser.NewParser(parser.Options{}), slog.New(slog.DiscardHandler))
	for _, err := range errs {
		t.Error(err)
	}
	if len(errs) > 0 || len(groups.Groups) != 1 {
		t.FailNow()
	}
	return groups.Groups[0].Rules
}

// checkNames wants each metric of a query, and each label that it is chosen by, to be in a scrape.
func checkNames(t *testing.T, where, query string, all []sample) {
	t.Helper()
	expr, err := parser.NewParser(parser.Options{}).ParseExpr(query)
	if err != nil {
		t.Errorf("%s: %s: %v", where, query, err)
		return
	}
	parser.Inspect(expr, func(n parser.Node, _ []parser.Node) error {
		s, ok := n.(*parser.VectorSelector)
		if !ok || slices.Contains(notYet, s.Name) {
			return nil
		}
		found := slices.ContainsFunc(all, func(is sample) bool {
			if is.Get(labels.MetricName) != s.Name {
				return false
			}
			for _, m := range s.LabelMatchers {
				if !is.Has(m.Name) {
					return false
				}
			}
			return true
		})
		if !found {
			t.Errorf("%s: no worker serves %s", where, s)
		}
		return nil
	})
}

// Alerts and board are about what is there, and each alert has its section in the handbook.
func TestAllIsAboutWhatIsServed(t *testing.T) {
	all := scraped(t)
	handbook, err := os.ReadFile(filepath.Join(root, "docs/alerts.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rules(t) {
		checkNames(t, r.Alert, r.Expr, all)
		if !strings.Contains(string(handbook), "\n### "+r.Alert+"\n") || !strings.HasSuffix(r.Annotations["runbook"], "#"+strings.ToLower(r.Alert)) {
			t.Errorf("%s has no section in docs/alerts.md, or does not name it", r.Alert)
		}
	}
	board, err := os.ReadFile(filepath.Join(root, "docs/grafana/millhand.json"))
	if err != nil {
		t.Fatal(err)
	}
	var parsed any
	if err := json.Unmarshal(board, &parsed); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, query := range queries(parsed) {
		n++
		checkNames(t, "the board", strings.ReplaceAll(query, "$__rate_interval", "5m"), all)
	}
	if n < 10 {
		t.Errorf("the board has %d queries", n)
	}
	t.Run("fire", func(t *testing.T) { fire(t, all) })
}

// queries are those of a board.
func queries(v any) (found []string) {
	switch v := v.(type) {
	case map[string]any:
		for name, below := range v {
			if text, ok := below.(string); ok && name == "expr" {
				found = append(found, text)
			}
			found = append(found, queries(below)...)
		}
	case []any:
		for _, below := range v {
			found = append(found, queries(below)...)
		}
	}
	return found
}

// A fault is what of the scrape is otherwise, as it is for forty minutes; an empty value is a series that is
// not there.
type fault map[string]string

// fire has each alert fire for its fault, and for no other.
func fire(t *testing.T, all []sample) {
	well := fault{
		`millhand_queue_unserved`: "0x40", `millhand_queue_oldest_ready_seconds`: "0x40", `millhand_queue_ready`: "0x40",
		`millhand_runs_ended_total\{.*outcome="dead"`: "0x40", `millhand_runs_ended_total\{.*outcome="succeeded".*type="echo"`: "0+60x40",
	}
	engine := promql.NewEngine(promql.EngineOpts{MaxSamples: 100_000, Timeout: time.Minute})
	for _, tt := range []struct {
		alert string
		fault fault
	}{
		{"", nil},
		{"", fault{`millhand_queue_oldest_ready_seconds\{.*echo`: "290x40"}},
		{"", fault{`millhand_events_oldest_seconds`: "600x40"}}, // a young namespace
		{"", fault{`millhand_clock_offset_seconds`: "-2x40"}},
		{"", fault{`millhand_jobs_running\{.*echo`: "1x40"}}, // and others of them end
		{"MillhandUnserved", fault{`millhand_queue_unserved\{.*nobody`: "3x40"}},
		{"MillhandStalled", fault{`millhand_problems\{code="stuck"`: "0x40", "+": `millhand_problems{code="stalled"} 1x40`}},
		{"MillhandStalled", fault{`millhand_jobs_running\{.*echo`: "2x40", `millhand_runs_ended_total\{.*type="echo"`: "60x40"}},
		{"", fault{`millhand_jobs_running\{.*echo`: "2x40", `millhand_runs_ended_total\{.*type="echo"`: "60x40", "+": `millhand_problems{code="stalled"} 0x40`}},
		{"MillhandNotPulled", fault{`millhand_problems\{code="not_pulled"`: "1x40"}},
		{"MillhandLate", fault{`millhand_queue_oldest_ready_seconds\{.*echo`: "301x40"}},
		{"", fault{`millhand_queue_oldest_ready_seconds\{.*echo`: "301x40", `millhand_queue_paused`: "1x40"}},
		{"MillhandDying", fault{`millhand_runs_ended_total\{.*outcome="dead".*type="crash"`: "0+2x40"}},
		{"", fault{`millhand_runs_ended_total\{.*outcome="dead".*type="echo"`: "0+0.5x40"}}, // 0.8 %
		{"MillhandFailing", fault{`millhand_runs_ended_total\{.*outcome="retrying".*type="echo"`: "0+20x40"}},
		{"", fault{`millhand_runs_ended_total\{.*outcome="retrying".*type="echo"`: "0+14x40"}},
		{"MillhandLosingLeases", fault{`millhand_leases_lost_total\{.*echo`: "0x30 1x9"}},
		{"MillhandNoWorkers", fault{`millhand_workers\{state="working"`: "0x40"}},
		{"MillhandSaturated", fault{`millhand_cluster_slots_used`: "100x40", `millhand_cluster_slots`: "100x40", `millhand_queue_ready\{.*echo`: "0+10x40"}},
		{"", fault{`millhand_cluster_slots_used`: "100x40", `millhand_cluster_slots`: "100x40", `millhand_queue_ready\{.*echo`: "400-10x40"}},
		{"MillhandBrokerDown", fault{`millhand_broker_connected`: "0x40"}},
		{"MillhandLeaderless", fault{`millhand_stream_leaderless\{.*events`: "1x40"}},
		{"MillhandReplicaLag", fault{`millhand_problems\{code="lagging"`: "1x40"}},
		{"MillhandHistoryShort", fault{`millhand_events_oldest_seconds`: "600x40", `millhand_problems\{code="disk"`: "1x40"}},
		{"MillhandDisk", fault{`millhand_events_oldest_seconds`: "60000x40", `millhand_problems\{code="disk"`: "1x40"}},
		{"MillhandClock", fault{`millhand_clock_offset_seconds`: "-2.1x40"}},
		{"MillhandScrapeGone", fault{`millhand_snapshot_duration_seconds`: ""}},
	} {
		storage := stored(t, load(all, well, tt.fault))
		var firing []string
		for _, r := range rules(t) {
			fires := true
			for _, at := range []time.Duration{35*time.Minute - time.Duration(r.For), 35 * time.Minute} {
				q, err := engine.NewInstantQuery(context.Background(), storage, nil, r.Expr, time.Unix(0, 0).Add(at))
				if err != nil {
					t.Fatal(err)
				}
				result := q.Exec(context.Background())
				vector, ok := result.Value.(promql.Vector)
				if result.Err != nil || !ok {
					t.Fatalf("%s: %v", r.Alert, result.Err)
				}
				fires = fires && len(vector) > 0
				q.Close()
			}
			if fires {
				firing = append(firing, r.Alert)
			}
		}
		if got := strings.Join(firing, " "); got != tt.alert {
			t.Errorf("with %v fires %q, want %q", tt.fault, got, tt.alert)
		}
	}
}
