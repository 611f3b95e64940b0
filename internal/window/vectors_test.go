package window

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
)

// vectors reads testdata/name: what the original emitted for recorded inputs. A field that is not
// known is refused, since it would be an operation that is not replayed.
func vectors[V any](t *testing.T, name string) []V {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	var all []V
	if err := dec.Decode(&all); err != nil {
		t.Fatal(err)
	}
	if len(all) == 0 {
		t.Fatalf("%s has no vectors", name)
	}
	return all
}

// id is a window's: a number, or a name.
type id string

func (i *id) UnmarshalJSON(data []byte) error {
	var number int
	if json.Unmarshal(data, &number) == nil {
		*i = id(strconv.Itoa(number))
		return nil
	}
	return json.Unmarshal(data, (*string)(i))
}

// Case flow-window-vectors.
func TestCountAndTriggerVectors(t *testing.T) {
	type emission struct {
		ID      id
		State   []int
		Trigger string
		Window  string
	}
	type vector struct {
		Kind    string
		N, Size int
		Reset   *bool `json:"reset_on_trigger"`
		Emitted []emission
	}
	for i, v := range vectors[vector](t, "flow_windows.json") {
		// The original's accumulator of a stage is there from the beginning.
		c := Config{Empty: true}
		switch v.Kind {
		case "count":
			c.Kind, c.N = Count, v.Size
		case "global_trigger":
			c.Kind, c.EveryN = Global, v.Size
		default:
			t.Fatalf("vector %d: unknown kind %q", i, v.Kind)
		}
		if v.Reset == nil {
			t.Fatalf("vector %d does not say whether a trigger resets", i)
		}
		if err := c.Check(); err != nil {
			t.Fatalf("vector %d: %v", i, err)
		}
		got := []emission{}
		o := NewOperator(c, Funcs[struct{}, int, []int]{
			Zero: func(struct{}) []int { return nil },
			Fold: func(a []int, v int) []int { return append(a, v) },
			Emit: func(_ struct{}, a *[]int, p Pane) {
				e := emission{ID: id(strconv.Itoa(p.Number)), State: append([]int{}, *a...), Trigger: p.Trigger.String(), Window: "count"}
				if c.Kind == Global {
					e.ID, e.Window = "global", "global"
				}
				if p.Trigger == Every {
					e.Trigger = fmt.Sprintf("every_%d", c.EveryN)
				}
				got = append(got, e)
				if *v.Reset {
					*a = nil
				}
			},
		})
		for n := range v.N {
			o.Add(struct{}{}, n+1, 0)
		}
		o.End()
		if diff := gocmp.Diff(v.Emitted, got); diff != "" {
			t.Errorf("vector %d (-want +got):\n%s", i, diff)
		}
	}
}

// Windows by event time, of one source: how the events are delivered makes no difference, since the
// watermark is told of each.
func TestFixedVectors(t *testing.T) {
	type emission struct {
		Items   []int
		Trigger string
		Start   int64 `json:"window_start_ms"`
	}
	type vector struct {
		Duration int64   `json:"duration_ms"`
		Times    []int64 `json:"event_times_ms_item_index_from_1"`
		Emitted  []emission
	}
	for i, v := range vectors[vector](t, "flow_fixed_windows.json") {
		const ms = int64(time.Millisecond)
		c := Config{Kind: Fixed, Size: time.Duration(v.Duration * ms), Empty: true}
		if err := c.Check(); err != nil {
			t.Fatalf("vector %d: %v", i, err)
		}
		got := []emission{}
		o := NewOperator(c, Funcs[struct{}, int, []int]{
			Zero: func(struct{}) []int { return nil },
			Fold: func(a []int, v int) []int { return append(a, v) },
			Emit: func(_ struct{}, a *[]int, p Pane) {
				got = append(got, emission{append([]int{}, *a...), p.Trigger.String(), p.Start / ms})
			},
		})
		for n, at := range v.Times {
			o.Observe(0, at*ms)
			o.Add(struct{}{}, n+1, at*ms)
		}
		o.End()
		if diff := gocmp.Diff(v.Emitted, got); diff != "" {
			t.Errorf("vector %d (-want +got):\n%s", i, diff)
		}
	}
}
