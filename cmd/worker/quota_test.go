package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/millhand/millhand"
)

func TestLimitsOfTheFileAndTheFlags(t *testing.T) {
	file := `
queues: {critical: 6, low: {quota: 3, rate: 5/s}}
types:
  email: {exec: ["true"], quota: 5, rate: 100/1m, silent_success: true}
  push: {exec: ["true"], quota: {key: crm-api, limit: 10}}
  sync: {exec: ["true"], quota: {key: crm-api, limit: 10}, rate: {key: crm-api, limit: 60/1h}}
`
	c, err := configOf(t, file)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.addQueues([]string{"low=2"}); err != nil {
		t.Fatal(err)
	}
	if err := c.addLimits([]string{"email=7", "import=1"}, []string{"import=0"}); err != nil {
		t.Fatal(err)
	}
	got, err := c.quotas()
	if err != nil {
		t.Fatal(err)
	}
	want := []millhand.Quota{
		{Type: "email", Limit: 100, Per: time.Minute},
		{Queue: "low", Limit: 3},
		{Queue: "low", Limit: 5, Per: time.Second},
		{Key: "crm-api", Types: []string{"push", "sync"}, Limit: 10},
		{Key: "crm-api", Types: []string{"sync"}, Limit: 60, Per: time.Hour},
		{Type: "email", Limit: 7},
		{Type: "import", Limit: 1},
		{Type: "import", Per: time.Second},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("limits (-want +got):\n%s", diff)
	}
	if email, push := c.Types["email"].settings(), c.Types["push"].settings(); !email.SilentSuccess || push.SilentSuccess {
		t.Errorf("email = %+v, push = %+v, want the first silent", email, push)
	}
	if w := c.Queues["low"].Weight; w != 2 {
		t.Errorf("weight of low = %d, want that of the flag", w)
	}
}

// What a file leaves open is no limit of zero, which would remove one for all workers.
func TestLimitThatIsNotGivenRemovesNone(t *testing.T) {
	for _, text := range []string{
		"types: {a: {exec: [x], quota: }}", "types: {a: {exec: [x], quota: ~, rate: null}}", "queues: {low: {quota: }}", "types: {a: {exec: [x]}}",
	} {
		c, err := configOf(t, text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if got, err := c.quotas(); err != nil || len(got) > 0 {
			t.Errorf("%s: limits %+v, %v, want none", text, got, err)
		}
	}
}

func TestBadLimits(t *testing.T) {
	for text, want := range map[string]string{
		"types: {a: {exec: [x], quota: many}}":                                                          `"many" is no limit`,
		"types: {a: {exec: [x], quota: -1}}":                                                            `"-1" is no limit`,
		"types: {a: {exec: [x], quota: 5/1m}}":                                                          "is a rate",
		"types: {a: {exec: [x], rate: 5}}":                                                              "want N/DURATION",
		"types: {a: {exec: [x], rate: 5/1ns}}":                                                          `"1ns" is no period`,
		"types: {a: {exec: [x], quota: {limit: 5}}}":                                                    "no key",
		"types: {a: {exec: [x], quota: {key: k}}}":                                                      "key k: no limit",
		"types: {a: {exec: [x], rate: {key: k}}}":                                                       "key k: no limit",
		"types: {a: {exec: [x], quota: {key: k, limit: }}}":                                             "is no limit",
		"types: {a: {exec: [x], quota: {key: k, limit: null}}}":                                         "is no limit",
		"types: {a: {exec: [x], quota: {}}}":                                                            "no key",
		"types: {a: {exec: [x], quota: []}}":                                                            "is no limit",
		"types: {a: {exec: [x], quota: {key: k, limit: 5}}, b: {exec: [x], quota: {key: k}}}":           "key k: no limit",
		"types: {a: {exec: [x], quota: {key: k, limits: 5}}}":                                           `unknown field "limits"`,
		"types: {a: {exec: [x], quota: {key: k, limit: 5}}, b: {exec: [x], quota: {key: k, limit: 6}}}": "another limit at type a",
		"types: {a: {exec: [x], quota: {key: k, limit: 5}, rate: {key: l, limit: 6/s}}}":                "different keys",
		"queues: {low: {weight: 1, quota: {key: k, limit: 5}}}":                                         "only types share a key",
		"queues: {low: {weights: 1}}":                                                                   "weights",
		"queues: {low: heavy}":                                                                          "mapping is expected",
	} {
		c, err := configOf(t, text)
		if err == nil {
			_, err = c.quotas()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", text, err, want)
		}
	}
}

func TestBadLimitFlags(t *testing.T) {
	for _, f := range []struct{ quota, rate, want string }{
		{quota: "import", want: "no ="},
		{quota: "e mail=1", want: `type "e mail"`},
		{quota: "import=1/1m", want: "is a --rate"},
		{rate: "import=", want: "is no limit"},
		{quota: "import=", want: "is no limit"},
		{rate: "email=5", want: "no period"},
		{rate: "email=5/x", want: "is no period"},
	} {
		var quotas, rates []string
		if f.quota != "" {
			quotas = []string{f.quota}
		} else {
			rates = []string{f.rate}
		}
		if err := new(config).addLimits(quotas, rates); err == nil || !strings.Contains(err.Error(), f.want) {
			t.Errorf("%+v: error %v", f, err)
		}
	}
}
