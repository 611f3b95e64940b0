package web_test

import (
	"context"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
	"github.com/millhand/millhand/web"
)

// Jobs that all take three seconds are in one row of the heat map, in each minute alike. A window that was drawn over a
// chart has what was in it, and nothing else.
func TestHeatMapAndWindow(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		log := natstest.Logger(t.Output())
		client, err := millhand.NewClient(s.Connect(t), millhand.Config{Logger: log})
		if err != nil {
			t.Fatal(err)
		}
		mux := millhand.NewMux()
		mux.HandleFunc("email", func(context.Context, *millhand.Job[millhand.Raw]) ([]byte, error) {
			time.Sleep(3 * time.Second)
			return nil, nil
		})
		w, err := millhand.NewWorker(s.Connect(t), millhand.WorkerConfig{Config: millhand.Config{Logger: log}, Mux: mux})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- w.Run(ctx) }()
		defer func() {
			cancel()
			<-ended
		}()
		began := time.Now()
		for time.Since(began) < 6*time.Minute {
			if _, err := client.Enqueue(ctx, millhand.Raw{Name: "email", Payload: []byte("{}")}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(5 * time.Second)
		}
		get := dashboard(t, client, web.Options{})
		page := get("/types/email?range=10m", 0)
		row := regexp.MustCompile(`<tr><th scope="row">4 s</th>((?:<td class="n">\d+</td>)+)</tr>`).FindStringSubmatch(page)
		if row == nil || strings.Count(row[1], ">12<") < 4 {
			t.Errorf("no row of the heat map has the 12 jobs of a minute:\n%s", page)
		}
		if !strings.Contains(page, "Most: from 2 s to 4 s. The longest: at most 4 s.") {
			t.Errorf("the heat map has no such label:\n%s", page)
		}
		start := began.Truncate(time.Minute).Add(time.Minute)
		window := url.Values{"since": {start.UTC().Format(time.RFC3339)}, "until": {start.Add(3 * time.Minute).UTC().Format(time.RFC3339)}}
		page = get("/types/email?"+window.Encode(), 0)
		row = regexp.MustCompile(`<tr><th scope="row">4 s</th>((?:<td class="n">\d+</td>)+)</tr>`).FindStringSubmatch(page)
		if row == nil || strings.Count(row[1], "<td") != 3 {
			t.Errorf("a window of three minutes has %v", row)
		}
		for _, name := range []string{">earlier<", ">later<", `aria-current="true">` + start.UTC().Format("15:04")} {
			if !strings.Contains(page, name) {
				t.Errorf("no %s in\n%s", name, page)
			}
		}
		if page = get("/types/email?since=x&until=y", 0); !strings.Contains(page, `aria-current="true">1h<`) {
			t.Error("a window that is none is not an hour")
		}
	})
}
