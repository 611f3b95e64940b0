package cli

import (
	"bytes"
	"context"
	"io"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"pgregory.net/rapid"
)

// A traced connection is the same for both sides, however it is cut into pieces, and nothing of what is
// sent is in what it writes but subjects and sizes.
func TestTracedConn(t *testing.T) {
	const (
		ours = "CONNECT {\"pass\":\"secret\"}\r\nSUB _INBOX.a.* 1\r\nPUB $JS.API.INFO _INBOX.a.1 6\r\nsecret\r\n" +
			"HPUB x.ready.y 12 18\r\nNATS/1.0\r\n\r\nsecret\r\nhpub A.b _INBOX.a.2 12 12\r\nNATS/1.0\r\n\r\n\r\nPING\r\n"
		theirs = "INFO {\"version\":\"2\"}\r\nMSG _INBOX.a.1 1 8\r\nMSG 1\r\n2\r\n\r\n+OK\r\nHMSG _INBOX.a.2 1 12 12\r\nNATS/1.0\r\n\r\n\r\nMSG _INBOX.other 1 0\r\n\r\nPONG\r\n"
	)
	rapid.Check(t, func(t *rapid.T) {
		var out bytes.Buffer
		var sent bytes.Buffer
		c := traced(&pieces{in: strings.NewReader(theirs), out: &sent, most: rapid.IntRange(1, 200).Draw(t, "piece")}, &out)
		for rest := ours; rest != ""; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "written")
			if _, err := c.Write([]byte(rest[:n])); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		got, err := io.ReadAll(c)
		if err != nil || string(got) != theirs || sent.String() != ours {
			t.Fatalf("read %q, %v, sent %q", got, err, sent.String())
		}
		want := regexp.MustCompile(`^debug:\s+x\.ready\.y  18 B
debug:\s+[0-9.]+.?s  \$JS\.API\.INFO  6 B, answered with 8 B
debug:\s+[0-9.]+.?s  A\.b  12 B, answered with 12 B
$`)
		if !want.MatchString(out.String()) {
			t.Fatalf("traced %q", out.String())
		}
	})
}

// What is no such protocol, as TLS is none, is let through and told once.
func TestTraceOfWhatIsEncrypted(t *testing.T) {
	for _, text := range []string{"\x16\x03\x01\n\x00\n", "PUB a b c\r\n", "HPUB a 1\r\n", strings.Repeat("x", maxLine+1)} {
		var out, sent bytes.Buffer
		c := traced(&pieces{in: strings.NewReader(text), out: &sent, most: len(text)}, &out)
		if _, err := c.Write([]byte(text)); err != nil || sent.String() != text {
			t.Errorf("sent %d bytes, %v", sent.Len(), err)
		}
		if got, err := io.ReadAll(c); err != nil || string(got) != text {
			t.Errorf("read %d bytes, %v", len(got), err)
		}
		if got := out.String(); got != "debug: requests cannot be shown: the connection is encrypted\n" {
			t.Errorf("traced %q", got)
		}
	}
}

func TestTargetTraces(t *testing.T) {
	out := newLogged()
	target := Target{URL: serve(t, &server.Options{}).ClientURL(), Trace: out}
	nc, err := target.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	sub, err := nc.Subscribe("echo", func(m *nats.Msg) { _ = m.Respond([]byte("abc")) })
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := nc.RequestWithContext(ctx, "echo", []byte("hello")); err != nil {
		t.Fatal(err)
	}
	_ = sub.Unsubscribe() // the connection is closed anyway
	nc.Close()
	out.waitFor(ctx, t, "s  echo  5 B, answered with 3 B")
}

// pieces is a connection whose reads are short.
type pieces struct {
	net.Conn
	in   io.Reader
	out  io.Writer
	most int
}

func (p *pieces) Read(b []byte) (int, error)  { return p.in.Read(b[:min(len(b), p.most)]) }
func (p *pieces) Write(b []byte) (int, error) { return p.out.Write(b) }
