package cli

import (
	"bytes"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// What is sent is shown as calls that send the same, however it is cut into pieces.
func TestShownConn(t *testing.T) {
	const (
		ours = "CONNECT {\"pass\":\"secret\"}\r\nSUB _INBOX.a.* 1\r\nPUB $JS.API.INFO _INBOX.a.1 0\r\n\r\n" +
			"HPUB x.ready.y _INBOX.a.2 25 37\r\nNATS/1.0\r\nNats-TTL: 9\r\n\r\n{\"a\":\"it's\"}\r\nPING\r\n" +
			"PUB a 8\r\n{{Time}}\r\nPUB b 3\r\n\x00\x01\x02\r\nPUB c 6\r\nx\ny\xc2\x9b9\r\n"
		theirs = "INFO {\"version\":\"2\"}\r\nMSG _INBOX.a.1 1 8\r\nMSG 1\r\n2\r\n\r\n+OK\r\n"
		want   = `nats request '$JS.API.INFO' ''
nats request -H Nats-TTL:9 x.ready.y '{"a":"it'\''s"}'
nats publish --no-templates a '{{Time}}'
nats publish b '' # without its 3 B, which are too many or no text
nats publish c $'x\012y\302\2339'
`
	)
	rapid.Check(t, func(t *rapid.T) {
		var out, sent bytes.Buffer
		c := shown(&pieces{in: strings.NewReader(theirs), out: &sent, most: rapid.IntRange(1, 200).Draw(t, "piece")}, &out)
		for rest := ours; rest != ""; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "written")
			if _, err := c.Write([]byte(rest[:n])); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if got, err := io.ReadAll(c); err != nil || string(got) != theirs || sent.String() != ours {
			t.Fatalf("read %q, %v, sent %q", got, err, sent.String())
		}
		if out.String() != want {
			t.Fatalf("shown:\n%s\nwant:\n%s", out.String(), want)
		}
	})
}

// Of what is longer than anybody types, the header is shown, if that is not.
func TestShownConnLeavesOut(t *testing.T) {
	long := strings.Repeat("x", maxShown)
	for text, want := range map[string]string{
		"PUB a 16384\r\n" + long + "\r\nPUB b 1\r\nx\r\n":                                               "nats publish a " + long + "\nnats publish b x\n",
		"PUB a 16385\r\n" + long + "x\r\nPUB b 1\r\nx\r\n":                                              "nats publish a '' # without its 16385 B, which are too many or no text\nnats publish b x\n",
		"HPUB a 18 16402\r\nNATS/1.0\r\nK: v\r\n\r\n" + long + "\r\n":                                   "nats publish -H K:v a '' # without its 16384 B, which are too many or no text\n",
		fmt.Sprintf("HPUB a %d %d\r\nNATS/1.0\r\nK: %s\r\n\r\nyyy\r\n", maxShown+17, maxShown+20, long): "nats publish a '' # without its 16404 B, which are too many or no text\n",
		"HPUB a 9 8\r\n":                     "# requests cannot be shown: the connection is encrypted\n",
		"\x16\x03\x01\n\x00\n\x16\x03\x01\n": "# requests cannot be shown: the connection is encrypted\n",
	} {
		var out, sent bytes.Buffer
		c := shown(&pieces{in: strings.NewReader(""), out: &sent, most: 1}, &out)
		if _, err := c.Write([]byte(text)); err != nil || sent.String() != text {
			t.Errorf("sent %d bytes of %d, %v", sent.Len(), len(text), err)
		}
		if out.String() != want {
			t.Errorf("of %.40q shown %.200q, want %.200q", text, out.String(), want)
		}
	}
}

// A shell reads a word as the text that it was.
func TestShellWord(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Fatal(err)
	}
	var script strings.Builder
	var want []string
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringOf(rapid.OneOf(rapid.SampledFrom([]rune("'\\$\"` \n\t\x1b\u009b\u202e0aä!")), rapid.Rune())).Filter(func(s string) bool { return !strings.Contains(s, "\x00") }).Draw(t, "text")
		word := shellWord(text)
		if strings.ContainsAny(word, "\n\x1b\u009b\u202e") {
			t.Fatalf("%q has what a terminal acts on", word)
		}
		script.WriteString("printf '%s\\0' " + word + "\n")
		want = append(want, text)
	})
	run := exec.CommandContext(t.Context(), bash, "-s")
	run.Stdin = strings.NewReader(script.String())
	got, err := run.Output()
	if err != nil || string(got) != strings.Join(want, "\x00")+"\x00" {
		t.Errorf("bash reads other words: %v", err)
	}
}
