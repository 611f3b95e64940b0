package main

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/millhand/millhand/internal/configfile"
)

// What a file says reaches the command and the headers as it was written.
func TestTextOfAFile(t *testing.T) {
	t.Parallel()
	written := []string{
		"1.10", "007", "0x1F", "0o17", "1_000", "1e3", "+1", ".inf", ".nan", "yes", "off", "True", "2001-01-01",
		"2001-12-14t21:59:43.10-05:00", "12:30:45", "-", "a: b", "''", "'~'", "'null'", `"#"`,
	}
	want := append(append([]string{}, written[:16]...), "a: b", "", "~", "null", "#")
	want[15] = "-"
	items := append(append([]string{}, written[:15]...), `"-"`, `"a: b"`, "''", "'~'", "'null'", `"#"`)
	c, err := configOf(t, "types:\n  a:\n    exec:\n    - "+strings.Join(items, "\n    - ")+"\n"+
		"  b: {http: {url: 1.10, headers: {X-Version: 1.10, X-Id: 007, 1.5: yes}}, quota: {key: 0x1F, limit: 5}}\n")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, c.Types["a"].Exec); diff != "" {
		t.Errorf("exec (-want +got):\n%s", diff)
	}
	b := c.Types["b"]
	if diff := cmp.Diff(map[string]string{"X-Version": "1.10", "X-Id": "007", "1.5": "yes"}, b.HTTP.Headers); diff != "" {
		t.Errorf("headers (-want +got):\n%s", diff)
	}
	if b.HTTP.URL != "1.10" || b.Quota.key != "0x1F" {
		t.Errorf("url %q, key %q", b.HTTP.URL, b.Quota.key)
	}
}

func TestAnchorsOfAFile(t *testing.T) {
	t.Parallel()
	c, err := configOf(t, `
x-common: &common
  exec: [cat, -u]
  timeout: 30s
  max_attempts: 3
  backoff: &slow {initial: 1m}
x-fragile: &fragile {max_attempts: 9, silent_success: true}
x-list:
- one
- 1.10
types:
  plain: *common
  over: {<<: *common, timeout: 5s}
  before: {timeout: 6s, <<: *common}
  list:
    <<: [*fragile, *common]
    backoff: {<<: *slow, max: 2h}
  inline: {<<: {exec: ["true"], quota: {key: a, limit: 2}}}
queues:
  high: &q {weight: 9, quota: 2}
  low: {<<: *q, weight: 1}
`)
	if err != nil {
		t.Fatal(err)
	}
	const seconds = configfile.Duration(time.Second)
	for name, want := range map[string]struct {
		timeout  configfile.Duration
		attempts configfile.Count
		silent   bool
	}{
		"plain": {30 * seconds, 3, false}, "over": {5 * seconds, 3, false},
		"before": {6 * seconds, 3, false}, "list": {30 * seconds, 9, true},
	} {
		got := c.Types[name]
		if valueOr(got.Timeout, 0) != want.timeout || valueOr(got.MaxAttempts, 0) != want.attempts || bool(got.Silent) != want.silent || len(got.Exec) != 2 {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}
	if b := c.Types["list"].Backoff; valueOr(b.Initial, 0) != 60*seconds || valueOr(b.Max, 0) != 7200*seconds {
		t.Errorf("backoff of list: %+v", b.backoff())
	}
	if q := c.Types["inline"].Quota; q.key != "a" || q.limit != 2 {
		t.Errorf("quota of inline: %+v", q)
	}
	if high, low := c.Queues["high"], c.Queues["low"]; high.Weight != 9 || low.Weight != 1 || low.Quota.limit != 2 {
		t.Errorf("queues %+v, %+v", high, low)
	}
}

func TestFilesThatSayNothing(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "\n", "# all comments\n", "---\n", "---\n...\n", "{}", "\xef\xbb\xbf", "\xef\xbb\xbf# mark\n", "x-a: 1\n", "types:\nqueues:\n"} {
		c, err := configOf(t, text)
		if err != nil || c.Types != nil || c.Queues != nil {
			t.Errorf("%q: %+v, %v", text, c, err)
		}
	}
	for _, text := range []string{"\xef\xbb\xbfconcurrency: 7\n", "---\nconcurrency: 7\n...\n", "concurrency: 7\r\n"} {
		if c, err := configOf(t, text); err != nil || valueOr(c.Concurrency, 0) != 7 {
			t.Errorf("%q: %+v, %v", text, c, err)
		}
	}
}

func TestWhatAFileCannotSay(t *testing.T) {
	t.Parallel()
	const types = "types: {a: {exec: ['true'], "
	for text, want := range map[string]string{
		"x-a: {b: c}\n# gr\xfc\xdfe\nqueues: {default: 1}": `[2:5] not UTF-8: the byte 0xfc; convert the file, from Latin-1 with iconv`,
		"# é \xe9":                                            `[1:5] not UTF-8: the byte 0xe9`,
		"concurrency: 2.9":                                    `[1:14] "2.9": want a whole number such as 100`,
		"concurrency: 1e3":                                    `[1:14] "1e3": want a whole number`,
		"concurrency: 1_000":                                  `[1:14] "1_000": want a whole number`,
		"concurrency: 0x1F":                                   `[1:14] "0x1F": want a whole number`,
		"concurrency: 010":                                    `[1:14] "010": want a whole number`,
		"concurrency: [1]":                                    `[1:14] a list: want a whole number`,
		"concurrency: 99999999999999999999":                   `[1:14] "99999999999999999999" is too large: at most 9223372036854775807`,
		"max_stuck: 0.5":                                      `[1:12] "0.5": want a whole number`,
		types + "max_attempts: 2.9}}":                         `[1:43] "2.9": want a whole number`,
		types + "quota: 2.5}}":                                `[1:36] "2.5" is no limit`,
		types + "quota: {key: k, limit: }}}":                  `"" is no limit`,
		types + "timeout: 30}}":                               `[1:38] "30" is no duration such as 30s`,
		types + "timeout: [30s]}}":                            `[1:38] a list is no duration such as 30s`,
		types + "silent_success: maybe}}":                     `[1:45] "maybe": want true or false`,
		types + "backoff: {factor: fast}}}":                   `"fast": want a number`,
		types + "backoff: 5s}}":                               `"5s": want a mapping`,
		types + "backoff: {factor: 010}}}":                    `[1:47] "010": want a number such as 1.5`,
		types + "backoff: {factor: 1_5}}}":                    `[1:47] "1_5": want a number such as 1.5`,
		types + "backoff: {factor: 0x1F}}}":                   `[1:47] "0x1F": want a number such as 1.5`,
		types + "backoff: {jitter: \"0.5\"}}}":                `"0.5": want a number`,
		types + "quota: 010}}":                                `"010" is no limit`,
		types + "quota: +5}}":                                 `"+5" is no limit`,
		types + "rate: 010/1m}}":                              `"010" is no limit`,
		types + "backof: {factor: 2}}}":                       `[1:29] unknown field "backof"`,
		types + "quota: {keys: 1}}}":                          `unknown field "keys"`,
		"queues: {a: 1.5}":                                    `[1:13] "1.5": want a whole number`,
		"queues: {a: {weight: 1.5}}":                          `[1:22] "1.5": want a whole number`,
		"queues: {a: {wait: 1}}":                              `[1:14] unknown field "wait"`,
		"queues: {a: }":                                       `no value`,
		"queues: [a]":                                         `[1:9] a list: want a mapping`,
		"types: {a: {exec: cat}}":                             `[1:19] "cat": want a list`,
		"types: {a: {exec: [~]}}":                             `[1:20] ~ means no value: for the text, write "~"`,
		"types:\n  a:\n    exec:\n    - cat\n    - \n    - x": `[5:`,
		"types: {a: {exec: [null]}}":                          `[1:20] null means no value: for the text, write "null"`,
		"types: {a: {exec: [[cat]]}}":                         `[1:20] a list: want text`,
		"types: {a: {exec: [{a: b}]}}":                        `[1:20] a mapping: want text`,
		"types: {a: {exec: [!!binary aGk=]}}":                 `[1:20] !!binary: tags are not supported`,
		"types: {a: {exec: [!x aGk=]}}":                       `[1:20] !x: tags are not supported`,
		"types: {a: {exec: [\"a\\0b\"]}}":                     `[1:20] a NUL character`,
		"types: {~: {exec: [cat]}}":                           `[1:9] want a plain key`,
		"types: {a: {http: {url: }}}":                         `no value`,
		"types: {a: {http: {headers: {X: }}}}":                `no value`,
		"types: {}\n---\nqueues: {a: 1}\n":                    `[2:1] a second document begins here`,
		"types: {}\n---\n":                                    `a second document begins here`,
		"types: {}\nqueues: {}\ntypes: {}\n":                  `[3:1] key "types" is there already, in line 1`,
		"types: {a: {exec: [x]}, a: {exec: [y]}}":             `[1:25] key "a" is there already, in line 1`,
		"- types":                           `[1:1] want keys such as types and queues`,
		"text":                              `[1:1] want keys such as types and queues`,
		"X-a: 1":                            `[1:1] unknown field "X-a"`,
		"types: {x-a: 1}":                   `[1:14] "1": want a mapping`,
		"types: {a: {exec: [*no]}}":         `unknown anchor`,
		"types: {a: {exec: [\"caf\xe9\"]}}": `[1:24] not UTF-8: the byte 0xe9`,
		"types:\n\ta: 1":                    `[2:`,
		types + "<<: 5}}":                   `map merge requires map`,
	} {
		_, err := configOf(t, text)
		if err == nil {
			t.Errorf("%q: no error, want %q", text, want)
			continue
		}
		_, got, _ := strings.Cut(err.Error(), "millhand.yaml: ")
		if !strings.Contains(got, want) || strings.Contains(got, "\n") || strings.Contains(got, "main.") ||
			strings.HasPrefix(want, "[") && !strings.HasPrefix(got, want) || !strings.HasPrefix(got, "[") {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestNumbersOutOfBounds(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"concurrency: 0":                                     "concurrency: 0 must be at least 1; leave it out for the default",
		"queues: {a: 1000001}":                               "queues: queue a: weight 1000001, must be from 1 to 1000000",
		"queues: {a: 9223372036854775807}":                   "queues: queue a: weight 9223372036854775807, must be from 1 to",
		"types: {a: {exec: [x], max_attempts: 0}}":           "type a: max_attempts: 0 must be at least 1; leave it out",
		"types: {a: {exec: [x], max_attempts: 99999999999}}": "type a: max_attempts: 99999999999 must be at most 1000000",
	} {
		if _, err := configOf(t, text); err == nil || !strings.HasPrefix(err.Error(), "--config: "+want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

// No file that fits keeps a worker from starting, or from ending.
func TestFilesThatGrow(t *testing.T) {
	t.Parallel()
	var lists, merges strings.Builder
	lists.WriteString("x-0: &a0 [l, l, l, l, l, l, l, l, l]\n")
	merges.WriteString("x-0: &a0 {exec: [cat]}\n")
	for i := 1; i <= 40; i++ {
		alias := fmt.Sprintf("*a%d", i-1)
		fmt.Fprintf(&lists, "x-%d: &a%d [%s]\n", i, i, strings.Repeat(alias+", ", 8)+alias)
		fmt.Fprintf(&merges, "x-%d: &a%d {<<: [%s, %s]}\n", i, i, alias, alias)
	}
	var wide strings.Builder
	for i := range 50_000 {
		fmt.Fprintf(&wide, "  q%d: 1\n", i)
	}
	for name, text := range map[string]string{
		"lists":     lists.String() + "types: {a: {exec: *a40}}\n",
		"merges":    merges.String() + "types: {a: *a40}\n",
		"cycle":     "types: &a {a: *a}\n",
		"self":      "types: {a: &a {<<: *a}}\n",
		"deep":      strings.Repeat("[", 200_000),
		"deep keys": strings.Repeat("? ", 200_000),
	} {
		_, err := configOf(t, text)
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if c, err := configOf(t, "queues:\n"+wide.String()); err != nil || len(c.Queues) != 50_000 {
		t.Errorf("many queues: %d, %v", len(c.Queues), err)
	}
	if _, err := configOf(t, "queues:\n"+wide.String()+strings.Repeat("  q: 1\n", 50_000)); err == nil {
		t.Error("many keys of one name: no error")
	}
	file := filepath.Join(t.TempDir(), "large.yaml")
	if err := os.WriteFile(file, make([]byte, 1<<20+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readConfig(file); err == nil || !strings.HasSuffix(err.Error(), "larger than 1 MiB: is it a configuration?") {
		t.Errorf("a large file: %v", err)
	}
}

// The keys that a dashboard by itself leaves to workers are those that workers read.
func TestKeysOfAFile(t *testing.T) {
	t.Parallel()
	var keys []string
	for f := range reflect.TypeFor[config]().Fields() {
		if key := f.Tag.Get("yaml"); key != "" && key != "web" {
			keys = append(keys, key)
		}
	}
	if diff := cmp.Diff(keys, configfile.WorkerKeys()); diff != "" {
		t.Errorf("keys of a worker (-read +known to configfile):\n%s", diff)
	}
}
