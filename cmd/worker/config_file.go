package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"

	"github.com/millhand/millhand/internal/cli"
)

const (
	maxConfigFile   = 1 << 20 // bytes
	maxConfigValues = 100_000 // an alias counts as all that it stands for
	maxConfigDepth  = 20      // of values within values
)

// loadConfig reads a configuration from a file. Its errors begin with the line and the
// column at fault, in brackets.
func loadConfig(name string, c *config) error {
	b, err := readSmall(name)
	if err != nil {
		return err
	}
	if err := checkUTF8(b); err != nil {
		return err
	}
	root, err := document(b)
	if err != nil || root == nil {
		return err
	}
	if root.Kind != yaml.MappingNode {
		return at(root, errors.New("want keys such as types and queues"))
	}
	dropExtensions(root)
	s := scan{left: maxConfigValues}
	if err := s.visit(root, nil); err != nil {
		return err
	}
	// That keys are not repeated was seen by the scan, in less than quadratic time.
	return plain(root.Load(c, yaml.WithKnownFields(), yaml.WithUniqueKeys(false)))
}

func readSmall(name string) (b []byte, err error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	b, err = io.ReadAll(io.LimitReader(f, maxConfigFile+1))
	if err == nil && len(b) > maxConfigFile {
		err = fmt.Errorf("larger than %d MiB: is it a configuration?", maxConfigFile>>20)
	}
	return b, err
}

// checkUTF8 says where a text stops being UTF-8. The YAML reader knows UTF-16 by its mark.
func checkUTF8(text []byte) error {
	if bytes.HasPrefix(text, []byte("\xff\xfe")) || bytes.HasPrefix(text, []byte("\xfe\xff")) {
		return nil
	}
	line := 0
	for b := range bytes.Lines(text) {
		line++
		for i := 0; i < len(b); {
			r, size := utf8.DecodeRune(b[i:])
			if r == utf8.RuneError && size == 1 {
				err := fmt.Errorf("not UTF-8: the byte 0x%02x; convert the file, from Latin-1 with iconv -f LATIN1 -t UTF-8", b[i])
				return &placed{line, utf8.RuneCount(b[:i]) + 1, err}
			}
			i += size
		}
	}
	return nil
}

// document returns the root of the only document in b, nil if there is none.
func document(b []byte) (*yaml.Node, error) {
	loader, err := yaml.NewLoader(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	var first, second yaml.Node
	switch err := loader.Load(&first); {
	case errors.Is(err, io.EOF):
		return nil, nil
	case err != nil:
		return nil, plain(err)
	}
	switch err := loader.Load(&second); {
	case errors.Is(err, io.EOF):
	case err != nil:
		return nil, plain(err)
	default:
		return nil, at(&second, errors.New("a second document begins here (---): put all into one"))
	}
	root := first.Content[0]
	if isNull(root) {
		return nil, nil
	}
	return root, nil
}

// dropExtensions removes the top-level keys that begin with x-, which are for anchors.
func dropExtensions(root *yaml.Node) {
	var kept []*yaml.Node
	for i := 0; i+1 < len(root.Content); i += 2 {
		if !strings.HasPrefix(root.Content[i].Value, "x-") {
			kept = append(kept, root.Content[i], root.Content[i+1])
		}
	}
	root.Content = kept
}

// scan looks at all values of a configuration, as often as aliases name them, for what a
// decoder would let pass.
type scan struct{ left int }

// visit looks at a value that is found at path.
func (s *scan) visit(n *yaml.Node, path []string) error {
	if s.left--; s.left < 0 {
		return at(n, fmt.Errorf("the aliases up to here stand for more than %d values", maxConfigValues))
	}
	if len(path) > maxConfigDepth {
		return at(n, fmt.Errorf("more than %d levels deep: does an alias stand for itself?", maxConfigDepth))
	}
	switch n.Kind {
	case yaml.AliasNode:
		return s.visit(n.Alias, path)
	case yaml.SequenceNode:
		for _, item := range n.Content {
			if err := s.visit(item, append(path, "-")); err != nil {
				return err
			}
		}
	case yaml.MappingNode:
		return s.visitMapping(n, path)
	case yaml.ScalarNode:
		switch {
		case n.Style&yaml.TaggedStyle != 0:
			return at(n, fmt.Errorf("%s: tags are not supported", n.Tag))
		case isNull(n) && !mayBeEmpty(path):
			if isLimit(path) {
				_, _, err := cli.ParseLimit(n.Value)
				return at(n, err)
			}
			if n.Value != "" {
				return at(n, fmt.Errorf("%s means no value: for the text, write %q", n.Value, n.Value))
			}
			return at(n, errors.New("no value: write one, or leave the key out"))
		case strings.ContainsRune(n.Value, 0):
			return at(n, errors.New("a NUL character can be in no command and no header"))
		}
	case yaml.DocumentNode, yaml.StreamNode: // not within a document
	}
	return nil
}

func (s *scan) visitMapping(n *yaml.Node, path []string) error {
	seen := make(map[string]*yaml.Node)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind != yaml.ScalarNode || isNull(key) || key.Style&yaml.TaggedStyle != 0 {
			return at(key, errors.New("want a plain key"))
		}
		if first := seen[key.Value]; first != nil {
			return at(key, fmt.Errorf("key %q is there already, in line %d", key.Value, first.Line))
		}
		seen[key.Value] = key
		below := append(slices.Clip(path), key.Value)
		if key.ShortTag() == "!!merge" {
			below = path
			if list := target(value); list.Kind == yaml.SequenceNode {
				for _, part := range list.Content {
					if err := s.visit(part, below); err != nil {
						return err
					}
				}
				continue
			}
		}
		if err := s.visit(value, below); err != nil {
			return err
		}
	}
	return nil
}

// target is what an alias stands for.
func target(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// mayBeEmpty reports whether a key without a value means its default. Elsewhere that
// could be taken for something: an empty argument, or a limit to remove.
func mayBeEmpty(path []string) bool {
	if len(path) < 2 {
		return true
	}
	if len(path) == 3 && (path[2] == "quota" || path[2] == "rate") { // none is given, so none is removed
		return true
	}
	if len(path) > 2 && path[0] == "cron" && path[2] == "payload" { // which may have any value
		return true
	}
	if path[0] != "types" || len(path) < 3 {
		return false
	}
	switch path[2] {
	case "timeout", "max_attempts", "backoff", "silent_success":
		return true
	case "http":
		return len(path) == 4 && path[3] == "headers"
	}
	return false
}

func isLimit(path []string) bool {
	return len(path) > 2 && (path[2] == "quota" || path[2] == "rate") && path[len(path)-1] != "key"
}

// placed is an error and where in the file it is.
type placed struct {
	line, column int
	err          error
}

func (e *placed) Error() string { return fmt.Sprintf("[%d:%d] %v", e.line, e.column, e.err) }

func (e *placed) Unwrap() error { return e.err }

func at(n *yaml.Node, err error) error { return &placed{n.Line, n.Column, err} }

// plain is the first error of the library in our words, which know no Go types.
func plain(err error) error {
	if err == nil {
		return nil
	}
	first, ok := errors.AsType[*yaml.LoadError](err)
	if list, many := errors.AsType[*yaml.LoadErrors](err); many && len(list.Errors) > 0 {
		first, ok = list.Errors[0], true
	}
	if !ok {
		return err
	}
	if ours, ok := errors.AsType[*placed](first); ok {
		return ours
	}
	return &placed{first.Mark.Line, max(first.Mark.Column, 1), errors.New(inOurWords(first.Message))}
}

func inOurWords(message string) string {
	if m := regexp.MustCompile(`^field (.*) not found in type `).FindStringSubmatch(message); m != nil {
		return fmt.Sprintf("unknown field %q", m[1])
	}
	m := regexp.MustCompile("^cannot construct (!!\\w+)(?: `(.*)`)? into (.*)$").FindStringSubmatch(message)
	if m == nil {
		return message
	}
	got, want := strconv.Quote(m[2]), m[3]
	switch m[1] {
	case "!!map":
		got = "a mapping"
	case "!!seq":
		got = "a list"
	}
	switch {
	case want == "bool":
		want = "true or false"
	case want == "string":
		want = "text"
	case strings.HasPrefix(want, "float"):
		want = "a number"
	case strings.HasPrefix(want, "[]"):
		want = "a list"
	default:
		want = "a mapping"
	}
	return fmt.Sprintf("%s: want %s", got, want)
}

// count is a whole number. Notations that another reader of YAML might take for another
// number, or for a fraction, are errors.
type count int

// UnmarshalYAML implements yaml.Unmarshaler.
func (c *count) UnmarshalYAML(n *yaml.Node) error {
	v, err := strconv.Atoi(n.Value)
	if err != nil || strconv.Itoa(v) != n.Value {
		return at(n, fmt.Errorf("%s: want a whole number such as 100", shownValue(n)))
	}
	*c = count(v)
	return nil
}

// boolean is true or false. As for [count], words that only some readers take for that are errors, such as yes.
type boolean bool

// UnmarshalYAML implements yaml.Unmarshaler.
func (b *boolean) UnmarshalYAML(n *yaml.Node) error {
	if n.ShortTag() != "!!bool" {
		return at(n, fmt.Errorf("%s: want true or false", shownValue(n)))
	}
	return n.Load((*bool)(b))
}

// fraction is a number that need not be whole. As for [count], notations that other readers
// take for other numbers are errors.
type fraction float64

// UnmarshalYAML implements yaml.Unmarshaler.
func (f *fraction) UnmarshalYAML(n *yaml.Node) error {
	tag := n.ShortTag()
	if tag != "!!int" && tag != "!!float" || regexp.MustCompile(`_|^[-+]?0[0-9box]`).MatchString(strings.ToLower(n.Value)) {
		return at(n, fmt.Errorf("%s: want a number such as 1.5", shownValue(n)))
	}
	return n.Load((*float64)(f))
}

func shownValue(n *yaml.Node) string {
	if n.Kind == yaml.ScalarNode {
		return strconv.Quote(n.Value)
	}
	if n.Kind == yaml.SequenceNode {
		return "a list"
	}
	return "a mapping"
}
