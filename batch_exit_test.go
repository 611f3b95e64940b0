package millhand_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
)

// An exiting parcel ends the goroutine that decodes it.
type exiting struct{ At string }

func (exiting) Type() string { return "exiting" }

func (e *exiting) UnmarshalJSON(data []byte) error {
	if e.At = strings.Trim(string(data), `"`); e.At == "decode" {
		runtime.Goexit()
	}
	return nil
}

// What ends a goroutine while a call is made ready fails its own job, with a key and without one.
func TestGoexitBeforeTheCall(t *testing.T) {
	for _, byKey := range []bool{false, true} {
		t.Run(fmt.Sprint("by key ", byKey), func(t *testing.T) {
			natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
				d := newDepot(t, s)
				refs := make(map[string]millhand.Ref)
				for _, at := range []string{"decode", "key", "good", "better"} {
					ref, err := d.client.Enqueue(t.Context(), millhand.Raw{Name: "exiting", Payload: []byte(`"` + at + `"`)}, millhand.WithMaxAttempts(1))
					if err != nil {
						t.Fatal(err)
					}
					refs[at] = ref
				}
				var o millhand.BatchConfig[exiting]
				if byKey {
					o.Key = func(j *millhand.Job[exiting]) string {
						if j.Args.At == "key" {
							runtime.Goexit()
						}
						return ""
					}
				}
				mux := millhand.NewMux()
				millhand.HandleBatch(mux, o, func(context.Context, *millhand.JobBatch[exiting]) error { return nil })
				start(t, s.Connect(t), millhand.WorkerConfig{Mux: mux, Concurrency: 1})
				time.Sleep(10 * time.Second)
				d.want(refs["decode"], "dead 1 exhausted")
				if byKey {
					d.want(refs["key"], "dead 1 exhausted")
				}
				d.want(refs["good"], "succeeded 1")
				d.want(refs["better"], "succeeded 1")
			})
		})
	}
}
