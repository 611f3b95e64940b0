package web_test

import (
	"context"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
	"github.com/millhand/millhand/web"
)

// A chart of what goes on evenly is even to its end, whenever it is looked at: the minute that is not over,
// or of which workers have not written all, is left out. Minutes in which nothing ran have no percentiles.
func TestChartsEndWithWholeSteps(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		log := natstest.Logger(t.Output())
		client, err := millhand.NewClient(s.Connect(t), millhand.Config{Logger: log})
		if err != nil {
			t.Fatal(err)
		}
		mux := millhand.NewMux()
		mux.HandleFunc("email", func(context.Context, *millhand.Job[millhand.Raw]) ([]byte, error) { return nil, nil })
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
		get := dashboard(t, client, web.Options{})
		began := time.Now()
		for time.Since(began) < 4*time.Minute {
			if _, err := client.Enqueue(t.Context(), millhand.Raw{Name: "email", Payload: []byte(`{}`)}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(3*time.Second + 100*time.Millisecond)
			if time.Since(began) < 130*time.Second {
				continue
			}
			page := get("/", 0)
			rows := chartRows(page, "chart-ends")
			last := rows[len(rows)-1]
			if n, err := strconv.ParseFloat(last[0], 64); err != nil || n < 0.3 || n > 0.36 {
				t.Errorf("after %s the last step has %q ended a second, want as in all: %v", time.Since(began), last[0], rows[max(0, len(rows)-4):])
			}
			if rows = chartRows(page, "chart-times"); len(rows[0]) != 0 || len(rows[len(rows)-1]) != 4 {
				t.Errorf("percentiles of the first step %v and of the last %v, want none and four", rows[0], rows[len(rows)-1])
			}
		}
	})
}

var value = regexp.MustCompile(`data-v="([^"]*)"`)

// chartRows returns the numbers of a chart, row by row.
func chartRows(page, id string) (rows [][]string) {
	_, table, _ := strings.Cut(page, `<table id="`+id+`-table">`)
	table, _, _ = strings.Cut(table, "</table>")
	_, body, _ := strings.Cut(table, "<tbody>")
	for row := range strings.SplitSeq(body, "</tr>") {
		if !strings.Contains(row, "<tr>") {
			continue
		}
		var of []string
		for _, m := range value.FindAllStringSubmatch(row, -1) {
			of = append(of, m[1])
		}
		rows = append(rows, of)
	}
	return rows
}
