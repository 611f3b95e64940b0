package registry

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/millhand/millhand/internal/natstest"
	"github.com/millhand/millhand/internal/slots"
	"github.com/millhand/millhand/internal/stream"
)

// The values that somebody may have written to the limit of imports.
const (
	personFive  = `{"limit":5}`
	configFive  = `{"limit":5,"source":"config"}`
	configEight = `{"limit":8,"source":"config"}`
	resetFive   = `{"limit":5,"source":"reset"}`
)

// Who may change what somebody else wrote.
func TestSettingsHaveAnOwner(t *testing.T) {
	configure := func(l Limit) func(s *Store, sc *scene) error {
		return func(s *Store, sc *scene) error { return s.ConfigureLimit(sc.ctx, imports, l) }
	}
	set := func(l Limit) func(s *Store, sc *scene) error {
		return func(s *Store, sc *scene) error { return s.SetLimit(sc.ctx, imports, l) }
	}
	reset := func(s *Store, sc *scene) error { return s.ResetLimit(sc.ctx, imports) }
	const nothing, kept = "", "a configured limit is not applied"
	tests := []struct {
		name, there string
		do          func(s *Store, sc *scene) error
		want, log   string
	}{
		{"a configuration sets what is not there", nothing, configure(Limit{Jobs: 5}), configFive, ""},
		{"a configuration replaces a configuration's", configEight, configure(Limit{Jobs: 5}), configFive, ""},
		{"a configuration removes a configuration's", configEight, configure(Limit{}), nothing, ""},
		{"a configuration removes nothing", nothing, configure(Limit{}), nothing, ""},
		{"a configuration takes what was handed back", resetFive, configure(Limit{Jobs: 8}), configEight, ""},
		{"a configuration takes the same that was handed back", resetFive, configure(Limit{Jobs: 5}), configFive, ""},
		{"a configuration removes what was handed back", resetFive, configure(Limit{}), nothing, ""},
		{"a configuration mends its own", `{"limit":"five","source":"config"}`, configure(Limit{Jobs: 5}), configFive, ""},

		{"a person's limit stays", personFive, configure(Limit{Jobs: 8}), personFive, kept},
		{"a person's limit is not removed", personFive, configure(Limit{}), personFive, kept},
		{"a person's limit that is the same stays a person's", personFive, configure(Limit{Jobs: 5}), personFive, ""},
		{"an older version's stays", `{"limit":5,"per":""}`, configure(Limit{Jobs: 8}), `{"limit":5,"per":""}`, kept},
		{"another program's stays", `{"source":"deploy","limit":5}`, configure(Limit{Jobs: 8}), `{"source":"deploy","limit":5}`, kept},
		{"what cannot be read stays", `5`, configure(Limit{Jobs: 8}), `5`, kept},
		{"what is no JSON stays", `five`, configure(Limit{Jobs: 8}), `five`, kept},

		{"a person sets what is not there", nothing, set(Limit{Jobs: 5}), personFive, ""},
		{"a person replaces a configuration's", configEight, set(Limit{Jobs: 5}), personFive, ""},
		{"a person takes over the same", configFive, set(Limit{Jobs: 5}), personFive, ""},
		{"a person takes over what was handed back", resetFive, set(Limit{Jobs: 5}), personFive, ""},
		{"a person removes a configuration's", configEight, set(Limit{}), nothing, ""},
		{"a person removes a person's", personFive, set(Limit{}), nothing, ""},

		{"a person hands a limit back as it is", personFive, reset, resetFive, ""},
		{"another program's is handed back", `{"source":"deploy","limit":5}`, reset, resetFive, ""},
		{"what cannot be read is handed back unreadable", `five`, reset, `{"source":"reset"}`, ""},
		{"a configuration's is a configuration's already", configEight, reset, configEight, ""},
		{"what was handed back is so already", resetFive, reset, resetFive, ""},
		{"nothing is handed back", nothing, reset, nothing, ""},
	}
	inScene(t, func(s *scene) {
		for _, tt := range tests {
			s.plant(limitKey(imports), tt.there)
			store, log := s.logged()
			if err := tt.do(store, s); err != nil {
				s.t.Errorf("%s: %v", tt.name, err)
			}
			if got := s.stored(limitKey(imports)); got != tt.want {
				s.t.Errorf("%s: %q became %q, want %q", tt.name, tt.there, got, tt.want)
			}
			if (log.Len() > 0) != (tt.log != "") || !strings.Contains(log.String(), tt.log) {
				s.t.Errorf("%s: logs %q, want %q", tt.name, log, tt.log)
			}
		}
	})
}

// The key of a type has an owner as well.
func TestKeysHaveAnOwner(t *testing.T) {
	inScene(t, func(s *scene) {
		store, log := s.logged()
		want := func(value string) {
			s.t.Helper()
			if got := s.stored(keyOf("sync")); got != value {
				s.t.Errorf("the key is %q, want %q", got, value)
			}
		}
		must(s, store.ConfigureKey(s.ctx, "sync", "crm"))
		want(`{"key":"crm","source":"config"}`)
		must(s, store.SetKey(s.ctx, "sync", "erp"))
		must(s, store.ConfigureKey(s.ctx, "sync", "crm"))
		want(`{"key":"erp"}`)
		if !strings.Contains(log.String(), "a configured key is not applied") || !strings.Contains(log.String(), "in_force=erp") {
			s.t.Errorf("logs %q", log)
		}
		must(s, store.ResetKey(s.ctx, "sync"))
		want(`{"key":"erp","source":"reset"}`)
		must(s, store.ConfigureKey(s.ctx, "sync", "crm"))
		want(`{"key":"crm","source":"config"}`)
	})
}

// The line says what is in force, since when, and how to go back.
func TestKeptLimitSaysHowToGoBack(t *testing.T) {
	inScene(t, func(s *scene) {
		must(s, s.store.SetLimit(s.ctx, mails, Limit{Jobs: 3, Per: time.Minute}))
		store, log := s.logged()
		must(s, store.ConfigureLimit(s.ctx, mails, Limit{Jobs: 100, Per: time.Minute}))
		for _, want := range []string{
			"level=WARN", "limit=rate.email", "configured=100/1m0s", "in_force=3/1m0s", "set=2000-01-01T",
			"Client.ResetQuota", "docs/quotas.md", "bucket=millhand-registry", "key=rate.email._limit",
		} {
			if !strings.Contains(log.String(), want) {
				s.t.Errorf("no %q in %s", want, log)
			}
		}
		if n := strings.Count(log.String(), "\n"); n != 1 {
			s.t.Errorf("%d lines: %s", n, log)
		}
	})
}

// A person's word that comes while a configuration is being written is not lost, whichever of
// its requests is the next one.
func TestConfigurationDoesNotReplaceWhatComesBetween(t *testing.T) {
	for _, before := range []string{"its first read", "its second read", "its third read", "its write"} {
		t.Run(before, func(t *testing.T) {
			inScene(t, func(s *scene) {
				must(s, s.store.ConfigureLimit(s.ctx, imports, Limit{Jobs: 10}))
				link := s.server.Link()
				store := s.open(link.Connect(s.t))
				reads := 0
				link.Watch(func(subject string) natstest.Fate {
					now := "its write"
					if strings.HasPrefix(subject, "$JS.API.STREAM.MSG.GET.") {
						reads++
						now = map[int]string{1: "its first read", 2: "its second read", 3: "its third read"}[reads]
					} else if !strings.HasPrefix(subject, "$KV.") {
						now = ""
					}
					if now == before {
						before = ""
						must(s, s.store.SetLimit(s.ctx, imports, Limit{Jobs: 2}))
					}
					return natstest.Pass
				})
				must(s, store.ConfigureLimit(s.ctx, imports, Limit{Jobs: 20}))
				if got := s.stored(limitKey(imports)); before != "" || got != `{"limit":2}` {
					s.t.Errorf("an emergency limit became %s", got)
				}
			})
		})
	}
}

// Many workers start while a person sets a limit: whoever is first, the person's holds at last.
func TestPersonWinsTheRaceOfAStart(t *testing.T) {
	inScene(t, func(s *scene) {
		for round := range 20 {
			var all sync.WaitGroup
			for i := range 8 {
				store := s.open(s.server.Link().Connect(s.t))
				all.Go(func() { must(s, store.ConfigureLimit(s.ctx, imports, Limit{Jobs: 100 + i})) })
			}
			all.Go(func() { must(s, s.store.SetLimit(s.ctx, imports, Limit{Jobs: 1 + round})) })
			all.Wait()
			if got, want := s.stored(limitKey(imports)), fmt.Sprintf(`{"limit":%d}`, 1+round); got != want {
				s.t.Fatalf("round %d: %s, want %s", round, got, want)
			}
			must(s, s.store.SetLimit(s.ctx, imports, Limit{}))
		}
	})
}

// A limit that is handed back is the running workers' at once: of several with different
// configurations one has it, and they do not fight.
func TestHandedBackToRunningWorkers(t *testing.T) {
	inScene(t, func(s *scene) {
		for i, id := range []string{"a", "b", "c"} {
			cfg := busy
			cfg.limits = map[slots.Key]Limit{imports: {Jobs: 10 + i}}
			cfg.configKeys = map[string]string{"push": "crm"}
			s.node(id, cfg)
		}
		s.limit(imports, 2, 0)
		s.key("push", "erp")
		time.Sleep(2 * time.Second)
		s.checkUsed(imports, 2, time.Second)
		s.mu.Lock()
		s.limits[imports] = append(s.limits[imports], setAt{Limit{Jobs: 12}, time.Now()})
		s.mu.Unlock()
		must(s, s.store.ResetLimit(s.ctx, imports))
		must(s, s.store.ResetKey(s.ctx, "push"))
		time.Sleep(time.Second)
		usages, err := s.store.Usages(s.ctx)
		if err != nil || len(usages) != 1 || usages[0].Source != ByConfig || usages[0].Limit.Jobs < 10 || usages[0].Limit.Jobs > 12 {
			s.t.Fatalf("usages %+v, %v", usages, err)
		}
		if got := s.stored(keyOf("push")); got != `{"key":"crm","source":"config"}` {
			s.t.Errorf("the key is %s", got)
		}
		before, err := s.store.bucket.Get(s.ctx, limitKey(imports))
		must(s, err)
		time.Sleep(time.Minute)
		after, err := s.store.bucket.Get(s.ctx, limitKey(imports))
		must(s, err)
		if after.Rev != before.Rev {
			s.t.Errorf("the limit was written again: %s, then %s", before.Value, after.Value)
		}
		s.checkUsed(imports, usages[0].Limit.Jobs, time.Second)
	})
}

// What nobody has in a configuration holds as it is after it was handed back.
func TestHandedBackToNobody(t *testing.T) {
	inScene(t, func(s *scene) {
		s.limit(imports, 5, 0)
		s.node("a", busy)
		must(s, s.store.ResetLimit(s.ctx, imports))
		time.Sleep(time.Minute)
		s.checkUsed(imports, 5, time.Second)
		if got := s.stored(limitKey(imports)); got != resetFive {
			s.t.Errorf("the limit is %s", got)
		}
	})
}

// The bucket is lost, and a worker that starts puts its configured limit into the new one before
// those that know better notice: what a person had set comes back.
func TestEmergencyLimitSurvivesTheBucket(t *testing.T) {
	inScene(t, func(s *scene) {
		s.limit(imports, 2, 0)
		s.node("a", busy)
		s.node("b", busy)
		time.Sleep(3 * time.Second)
		must(s, s.client.JetStream().DeleteStream(s.ctx, "KV_"+s.store.bucket.Name()))
		must(s, s.store.ConfigureLimit(s.ctx, imports, Limit{Jobs: 50}))
		time.Sleep(DefaultTTL + 5*time.Second)
		if got := s.stored(limitKey(imports)); got != `{"limit":2}` {
			s.t.Errorf("the limit is %s", got)
		}
		s.checkUsed(imports, 2, time.Second)
	})
}

// Whatever people, configurations and other programs do in whatever order, a limit that is a
// person's changes by a person's deed only, and no configuration raises what is not one's.
func TestOwnersModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var there stream.Entry
		apply := func(e edit) {
			if value, change := e(there); change {
				there = stream.Entry{Value: value, Rev: there.Rev + 1}
			}
		}
		jobs := rapid.IntRange(0, 9)
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			before := there
			person := rapid.Bool().Draw(t, "a person")
			if person {
				switch rapid.IntRange(0, 3).Draw(t, "what") {
				case 0, 1:
					apply(to(encodeLimit(Limit{Jobs: jobs.Draw(t, "jobs")}, ByPerson, "")))
				case 2:
					apply(handedBack)
				case 3:
					text := rapid.SampledFrom([]string{"5", "", "{", `{"limit":4}`, `{"limit":4,"source":"x"}`, `{"limit":-4,"source":"reset"}`, `{"limit":7,"source":"config"}`}).Draw(t, "text")
					there = stream.Entry{Value: []byte(text), Rev: there.Rev + 1}
				}
			} else {
				value := encodeLimit(Limit{Jobs: jobs.Draw(t, "configured")}, ByConfig, "")
				if rapid.Bool().Draw(t, "it runs") {
					apply(takenBack(value))
				} else {
					apply(configured(value, new(stream.Entry)))
				}
			}
			changed := differs(before, there.Value)
			if !person && changed && before.Value != nil && sourceOf(before.Value) == ByPerson {
				t.Fatalf("a configuration made %s of a person's %s", there.Value, before.Value)
			}
			if !person && there.Value != nil && changed && sourceOf(there.Value) != ByConfig {
				t.Fatalf("a configuration wrote %s", there.Value)
			}
			was, _ := decodeLimit(before.Value)
			if is, ok := decodeLimit(there.Value); person && ok && changed && sourceOf(there.Value) == HandedBack && sourceOf(before.Value) == ByPerson && before.Value != nil && is != was {
				t.Fatalf("handing back made %s of %s", there.Value, before.Value)
			}
		}
	})
}

func must(s *scene, err error) {
	if err != nil {
		s.t.Errorf("%v", err)
	}
}

// plant has a key be what somebody wrote by hand, or nothing.
func (s *scene) plant(key, value string) {
	s.t.Helper()
	must(s, s.store.Open(s.ctx))
	w := stream.Write{Key: key, Value: []byte(value), Remove: value == ""}
	if _, err := s.store.bucket.Put(s.ctx, w); err != nil {
		s.t.Fatal(err)
	}
}

// stored is what a key has, "" if it is not there.
func (s *scene) stored(key string) string {
	s.t.Helper()
	e, err := s.store.bucket.Get(s.ctx, key)
	if err != nil && !errors.Is(err, stream.ErrNotFound) {
		s.t.Fatal(err)
	}
	return string(e.Value)
}

// logged is a store of its own whose log, but for what is for debugging, is kept.
func (s *scene) logged() (*Store, *bytes.Buffer) {
	s.t.Helper()
	log := new(bytes.Buffer)
	return NewStore(s.connect(s.server.Link().Connect(s.t)), slog.New(slog.NewTextHandler(log, nil))), log
}

// A limit that can be read holds, whatever another program wrote of who set it.
func TestSourceOfAnyKind(t *testing.T) {
	for source, want := range map[string]Source{
		`"config"`: ByConfig, `"reset"`: HandedBack,
		`""`: ByPerson, `"Config"`: ByPerson, `null`: ByPerson, `5`: ByPerson, `["config"]`: ByPerson, `{"by":"me"}`: ByPerson,
	} {
		value := []byte(`{"limit":2,"key":"crm","source":` + source + `}`)
		if l, ok := decodeLimit(value); !ok || l.Jobs != 2 {
			t.Errorf("%s: limit %+v, %t", value, l, ok)
		}
		if typ, key, ok := parseKey(stream.Entry{Key: keyKeys + ".import", Value: value}); !ok || typ != "import" || key != "crm" {
			t.Errorf("%s: key %q of %q, %t", value, key, typ, ok)
		}
		if got := sourceOf(value); got != want {
			t.Errorf("%s: set by %q, want %q", value, got, want)
		}
	}
}
