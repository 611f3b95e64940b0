package millhand_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
)

// Two workers tell of a problem once when it begins, though its first notice is not taken, and once when it ends.
func TestNotify(t *testing.T) {
	var mu sync.Mutex
	var told []string
	failing := true
	hook := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var m struct {
			Event, Namespace, Worker string
			Problem                  struct{ ID, Code, Level, Subject string }
		}
		err := json.Unmarshal(body, &m)
		mu.Lock()
		defer mu.Unlock()
		if err != nil || m.Namespace != "millhand" || m.Worker == "" {
			told = append(told, string(body))
		}
		told = append(told, m.Event+" "+m.Problem.ID+" "+m.Problem.Code+" "+m.Problem.Level+" "+m.Problem.Subject)
		if failing {
			failing = false
			rw.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer hook.Close()
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		hire := func(name string, types ...string) {
			mux := millhand.NewMux()
			for _, typ := range types {
				mux.HandleFunc(typ, func(context.Context, *millhand.Job[millhand.Raw]) ([]byte, error) { return nil, nil })
			}
			start(t, s.Connect(t), millhand.WorkerConfig{
				Config: millhand.Config{Logger: logger}, Name: name, Mux: mux, Concurrency: 1,
				Notify: millhand.Notify{URL: hook.URL + "/T0KEN"},
			})
		}
		hire("a", "email")
		hire("b", "email")
		c := client(t, s.Connect(t))
		if _, err := c.Enqueue(t.Context(), millhand.Raw{Name: "resize"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(4 * time.Minute)
		hire("c", "resize")
		time.Sleep(9 * time.Minute)
		want := []string{"began P01 no_worker error default/resize", "began P01 no_worker error default/resize", "ended P01 no_worker error default/resize"}
		mu.Lock()
		defer mu.Unlock()
		if d := cmp.Diff(want, told); d != "" {
			t.Error(d)
		}
	})
	if strings.Contains(log.String(), "T0KEN") {
		t.Errorf("the log has the secret: %s", log.String())
	}
}

func TestNotifyIsChecked(t *testing.T) {
	for _, tt := range []struct {
		notify millhand.Notify
		want   string
	}{
		{millhand.Notify{}, ""},
		{millhand.Notify{URL: "https://hooks.example.com/x", Min: "notice"}, ""},
		{millhand.Notify{URL: "hooks.example.com/SECRET"}, "the URL must be a URL such as"},
		{millhand.Notify{URL: "https://hooks.example.com/x", Min: "all"}, "must be error, warning or notice"},
	} {
		err := tt.notify.Check()
		if (err == nil) != (tt.want == "") || err != nil && (!strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "SECRET")) {
			t.Errorf("%+v: %v, want %q", tt.notify, err, tt.want)
		}
	}
}

// Where a worker's dashboard is stands in its presence.
func TestDashboardOfAWorker(t *testing.T) {
	const address = "http://web-1:8080/ops/"
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		mux := millhand.NewMux()
		mux.HandleFunc("email", func(context.Context, *millhand.Job[millhand.Raw]) ([]byte, error) { return nil, nil })
		w, _ := start(t, s.Connect(t), millhand.WorkerConfig{Mux: mux, Web: address})
		time.Sleep(time.Second)
		workers, err := client(t, s.Connect(t)).Workers(t.Context())
		if err != nil || len(workers) != 1 || workers[0].ID != w.ID() || workers[0].Web != address || workers[0].Order != nil {
			t.Errorf("workers %+v, %v", workers, err)
		}
		for _, wrong := range []string{"web-1:8080", "ftp://web-1", "http://ann:secret@web-1/"} {
			if _, err := millhand.NewWorker(s.Connect(t), millhand.WorkerConfig{Mux: mux, Web: wrong}); !errors.Is(err, millhand.ErrInvalid) || strings.Contains(err.Error(), "secret") {
				t.Errorf("%s: %v", wrong, err)
			}
		}
	})
}
