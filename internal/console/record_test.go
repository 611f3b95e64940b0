package console

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// counted is a source whose pages have a number that grows.
type counted struct {
	words

	n int
}

func (c *counted) Load(_ context.Context, s Screen) (*Page, error) {
	if s.Kind == Limits {
		return nil, errors.New("denied")
	}
	c.n++
	return &Page{Where: "prod", Title: fmt.Sprintf("page %d", c.n), Rows: []Row{{Name: "a", Cells: []Cell{{"a", Red}}, Into: &Screen{Kind: Queue, Of: "a"}, Can: []Op{Pause}}}, Columns: []Column{{Title: "A"}}}, nil
}

// What was recorded is shown at its time, over and over, and is drawn as it was.
func TestRecordingIsReplayed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var file bytes.Buffer
		r := Record(&counted{}, &file)
		var drawn string
		for i := range 3 {
			p, err := r.Load(t.Context(), Screen{})
			if err != nil {
				t.Fatal(err)
			}
			if i == 0 {
				drawn = Draw(Screen{}, p, 80, 24, true)
			}
			time.Sleep(2 * time.Second)
		}
		if _, err := r.Load(t.Context(), Screen{Kind: Limits}); err == nil {
			t.Error("an error was recorded")
		}
		s, err := Replay(&file)
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range []string{"page 1", "page 2", "page 3", "page 1"} {
			p, err := s.Load(t.Context(), Screen{})
			if err != nil || p.Title != want {
				t.Fatalf("%v: %+v, want %s", err, p, want)
			}
			if i == 0 && Draw(Screen{}, p, 80, 24, true) != drawn {
				t.Error("it is drawn otherwise than it was")
			}
			time.Sleep(2 * time.Second)
		}
		if _, err := s.Load(t.Context(), Screen{Kind: Jobs}); err == nil {
			t.Error("a screen that was not recorded has something")
		}
		if _, err := s.Plan(t.Context(), Operation{Op: Pause}); err == nil {
			t.Error("something can be done to a recording")
		}
	})
}

func TestNoRecording(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "hello\n", "{}\n"} {
		if _, err := Replay(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), "--record") {
			t.Errorf("%q: %v", text, err)
		}
	}
}
