package cli

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"github.com/nats-io/nats.go"
)

// maxShown is how much of a message is kept to be shown: nobody types more.
const maxShown = 16 << 10

// shown returns a connection to a NATS server that writes each message that is sent over it as a call of the
// command nats which sends the same. Over TLS it can see nothing, and says so.
func shown(conn net.Conn, out io.Writer) net.Conn {
	s := &wireShow{out: out}
	return &wiretap{
		Conn:     conn,
		sent:     wireReader{line: s.sent, body: s.body, keep: maxShown},
		received: wireReader{line: func(fields [][]byte) (int, bool) { _, follow, ok := receivedLine(fields); return follow, ok }},
		lost: sync.OnceFunc(func() {
			s.write("# requests cannot be shown: the connection is encrypted")
		}),
	}
}

type wireShow struct {
	out  io.Writer
	next published // whose bytes come; of the goroutine that sends
}

func (s *wireShow) sent(fields [][]byte) (follow int, ok bool) {
	s.next, ok = sentLine(fields)
	return s.next.follow, ok
}

// body is told what of a message was kept.
func (s *wireShow) body(b []byte) {
	s.write(commandOf(s.next, b))
}

func (s *wireShow) write(line string) { _, _ = fmt.Fprintln(s.out, line) } // for show

// commandOf is a line for a shell that sends a message. What cannot be typed is left out, and told.
func commandOf(p published, b []byte) string {
	words := []string{"nats", "publish"}
	if p.wantsAnswer {
		words[1] = "request"
	}
	var header, body []byte
	left := p.size
	if p.header <= len(b) {
		header, left = b[:p.header], p.size-p.header
	}
	if whole := b[len(header):min(p.size, len(b))]; len(b) >= p.size && bytes.IndexByte(whole, 0) < 0 && utf8.Valid(whole) {
		body, left = whole, 0
	}
	for _, h := range headersOf(header) {
		words = append(words, "-H", shellWord(h))
	}
	if strings.Contains(p.subject+string(body), "{{") { // which nats would fill in
		words = append(words, "--no-templates")
	}
	words = append(words, shellWord(p.subject), shellWord(string(body)))
	if left > 0 {
		words = append(words, fmt.Sprintf("# without its %d B, which are too many or no text", left))
	}
	return strings.Join(words, " ")
}

// headersOf are the headers of a message as nats takes them, in the order of their names.
func headersOf(b []byte) (all []string) {
	h, err := nats.DecodeHeadersMsg(b)
	if err != nil {
		return nil // there is none, or it is cut off
	}
	for _, name := range slices.Sorted(maps.Keys(h)) {
		for _, value := range h[name] {
			all = append(all, name+":"+value)
		}
	}
	return all
}

// shellWord is a text as one word of a shell such as bash or zsh, with nothing in it that a terminal would act on.
func shellWord(text string) string {
	plain := func(r rune) bool {
		return r < utf8.RuneSelf && (unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("-_./:,=@%+", r))
	}
	if text != "" && strings.IndexFunc(text, func(r rune) bool { return !plain(r) }) < 0 {
		return text
	}
	if strings.IndexFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) < 0 {
		return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
	}
	var b strings.Builder
	b.WriteString("$'")
	for _, r := range text {
		switch {
		case r == '\'' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			for _, c := range []byte(string(r)) {
				fmt.Fprintf(&b, `\%03o`, c) // in octal, of which a digit behind it is no part
			}
		}
	}
	return b.String() + "'"
}
