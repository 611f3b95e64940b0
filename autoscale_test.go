package millhand_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
)

// What comes, how long it runs and what waits decides how many slots are wanted; a limit caps it, and
// what is unknown is no answer.
func TestAutoscale(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		c := client(t, s.Connect(t))
		ask := func(q millhand.AutoscaleQuery) *millhand.Autoscale {
			t.Helper()
			a, err := c.Autoscale(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(3 * time.Second) // an answer is as good as new for two
			return a
		}
		if a := ask(millhand.AutoscaleQuery{Concurrency: 4}); a.Slots != 0 || *a.Workers != 0 || len(a.Types)+len(a.Capped) > 0 {
			t.Errorf("of a namespace that is not there: %+v", a)
		}
		enqueueEmails(t, c, 30)
		if a := ask(millhand.AutoscaleQuery{Concurrency: 4, Types: []string{"email"}}); a.Slots != 1 || *a.Workers != 1 {
			t.Errorf("of a type that no worker has served: %+v", a)
		}

		mux := millhand.NewMux()
		mux.HandleFunc("email", func(ctx context.Context, _ *millhand.Job[millhand.Raw]) ([]byte, error) {
			select {
			case <-time.After(3 * time.Second):
			case <-ctx.Done():
			}
			return nil, nil
		})
		start(t, s.Connect(t), millhand.WorkerConfig{Name: "a", Concurrency: 20, Mux: mux})
		for range 100 { // two jobs a second come
			enqueueEmails(t, c, 6)
			time.Sleep(3 * time.Second)
		}
		a := ask(millhand.AutoscaleQuery{Concurrency: 4, Min: 1, Max: 10})
		if len(a.Types) != 1 || a.Types[0].Due < 1.9 || a.Types[0].Due > 2.1 || a.Types[0].Run < 2.9 || a.Types[0].Run > 3.1 {
			t.Fatalf("two jobs a second of three seconds: %+v", a)
		}
		if a.Slots < 6 || a.Slots > 7 || *a.Workers != 2 || len(a.Capped) > 0 {
			t.Errorf("two jobs a second of three seconds: %+v", a)
		}

		if err := c.SetQuota(t.Context(), millhand.Quota{Type: "email", Limit: 3}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		enqueueEmails(t, c, 1000)
		a = ask(millhand.AutoscaleQuery{Target: 30 * time.Second})
		if a.Slots != 3 || len(a.Capped) != 1 || a.Capped[0].By != "quota" || a.Capped[0].Pool != "email" || a.Capped[0].Wanted < 100 || a.Capped[0].Allowed != 3 {
			t.Errorf("with a quota of 3: %+v", a)
		}
		if err := c.Pause(t.Context(), "default"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		if a = ask(millhand.AutoscaleQuery{}); a.Slots != 0 || len(a.Capped) == 0 || !slices.ContainsFunc(a.Capped, func(c millhand.AutoscaleCap) bool { return c.By == "pause" && c.Pool == "default/email" }) {
			t.Errorf("while the queue is paused: %+v", a)
		}
	})
}

func TestAutoscaleQueryIsChecked(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		c := client(t, s.Connect(t))
		for _, q := range []millhand.AutoscaleQuery{{Types: []string{"a.b"}}, {Queue: "*"}, {Concurrency: -1}, {Target: -1}, {Min: -1}, {Max: -1}, {Min: 3, Max: 2}} {
			if _, err := c.Autoscale(t.Context(), q); !errors.Is(err, millhand.ErrInvalid) {
				t.Errorf("%+v: %v", q, err)
			}
		}
		for _, query := range []string{"types=a.b", "queue=a%20b", "concurrency=x", "target=60", "min=1&min=2", "max=-1", "concurency=4"} {
			status, body := getAutoscale(t, c, "/?"+query)
			var answer struct {
				Error struct{ Code, Text, Hint string }
			}
			if err := json.Unmarshal(body, &answer); err != nil || status != http.StatusBadRequest || answer.Error.Code != "invalid" || answer.Error.Text == "" || answer.Error.Hint == "" {
				t.Errorf("%s: %d %s, %v", query, status, body, err)
			}
		}
		s.Stop()
		if status, body := getAutoscale(t, c, "/"); status != http.StatusServiceUnavailable || !strings.Contains(string(body), `"code":"unknown"`) {
			t.Errorf("without a broker: %d %s", status, body)
		}
	})
}

func getAutoscale(t *testing.T, c *millhand.Client, target string) (status int, body []byte) {
	t.Helper()
	rec := httptest.NewRecorder()
	c.AutoscaleHandler().ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodGet, target, nil))
	return rec.Code, rec.Body.Bytes()
}

// The example for KEDA reads a number from what is really answered, and names the metric that there is.
func TestKEDAExample(t *testing.T) {
	text, err := os.ReadFile("docs/keda.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var scaled struct {
		Kind string
		Spec struct {
			Triggers []struct {
				Type     string
				Metadata map[string]string
			}
		}
	}
	if err := yaml.Unmarshal(text, &scaled); err != nil || scaled.Kind != "ScaledObject" || len(scaled.Spec.Triggers) != 2 {
		t.Fatalf("%+v, %v", scaled, err)
	}
	api, prometheus := scaled.Spec.Triggers[0], scaled.Spec.Triggers[1]
	target, err := url.Parse(api.Metadata["url"])
	if err != nil || api.Type != "metrics-api" || target.Path != "/api/v1/autoscale" {
		t.Fatalf("%+v, %v", api, err)
	}
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		c := client(t, s.Connect(t))
		enqueueEmails(t, c, 1)
		status, body := getAutoscale(t, c, target.RequestURI())
		if got := at(t, body, api.Metadata["valueLocation"]); status != http.StatusOK || got != 1.0 {
			t.Errorf("%s has %v at %s: %s", api.Metadata["url"], got, api.Metadata["valueLocation"], body)
		}
	})
	if query := prometheus.Metadata["query"]; prometheus.Type != "prometheus" || query != `sum(millhand_autoscale_slots_wanted{type=~"email|sms"})` || prometheus.Metadata["threshold"] != api.Metadata["targetValue"] {
		t.Errorf("%+v", prometheus)
	}
}

func enqueueEmails(t *testing.T, c *millhand.Client, n int) {
	t.Helper()
	batch := make([]millhand.Request, n)
	for i := range batch {
		batch[i].Args = millhand.Raw{Name: "email", Payload: []byte(`{}`)}
	}
	if _, err := c.EnqueueMany(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
}

// at follows a path of names in a JSON text.
func at(t *testing.T, text []byte, path string) any {
	t.Helper()
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	for name := range strings.SplitSeq(path, ".") {
		object, _ := v.(map[string]any)
		v = object[name]
	}
	return v
}
