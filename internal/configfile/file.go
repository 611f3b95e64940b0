package configfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
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

// Rules are what holds for some keys and not for others. The zero value has no exceptions.
type Rules struct {
	// MayBeEmpty reports whether a key that has no value means its default. Elsewhere that could be taken for
	// something: an empty argument, or a limit to remove. Keys at the top may always be empty.
	MayBeEmpty func(path []string) bool

	// Empty returns what is wrong with a value that means none, in words of its own; nil for the usual ones.
	Empty func(path []string, text string) error
}

// Load reads a file into a struct. All of its errors are of usage: they begin with --config and, where there is one, the
// place at fault as [line:column].
func Load(name string, into any, r Rules) error { return load(name, into, r, nil) }

// load leaves out the keys at the top that are another reader's.
func load(name string, into any, r Rules, others []string) error {
	err := read(name, into, r, others)
	if _, ok := errors.AsType[*fs.PathError](err); ok { // which names the file
		return cli.Usagef("--config: %w", err)
	}
	if err != nil {
		return cli.Usagef("--config %s: %w", name, err)
	}
	return nil
}

func read(name string, into any, r Rules, others []string) error {
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
		return At(root, errors.New("want keys such as types and queues"))
	}
	drop(root, others)
	s := scan{left: maxConfigValues, rules: r}
	if err := s.visit(root, nil); err != nil {
		return err
	}
	// That keys are not repeated was seen by the scan, in less than quadratic time.
	return plain(root.Load(into, yaml.WithKnownFields(), yaml.WithUniqueKeys(false)))
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
		return nil, At(&second, errors.New("a second document begins here (---): put all into one"))
	}
	root := first.Content[0]
	if isNull(root) {
		return nil, nil
	}
	return root, nil
}

// drop removes keys at the top: those that begin with x-, which are for anchors, and some others.
func drop(root *yaml.Node, others []string) {
	var kept []*yaml.Node
	for i := 0; i+1 < len(root.Content); i += 2 {
		if key := root.Content[i].Value; !strings.HasPrefix(key, "x-") && !slices.Contains(others, key) {
			kept = append(kept, root.Content[i], root.Content[i+1])
		}
	}
	root.Content = kept
}

// scan looks at all values of a configuration, as often as aliases name them, for what a
// decoder would let pass.
type scan struct {
	left  int
	rules Rules
}

// visit looks at a value that is found at path.
func (s *scan) visit(n *yaml.Node, path []string) error {
	if s.left--; s.left < 0 {
		return At(n, fmt.Errorf("the aliases up to here stand for more than %d values", maxConfigValues))
	}
	if len(path) > maxConfigDepth {
		return At(n, fmt.Errorf("more than %d levels deep: does an alias stand for itself?", maxConfigDepth))
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
			return At(n, fmt.Errorf("%s: tags are not supported", n.Tag))
		case isNull(n) && len(path) > 1 && (s.rules.MayBeEmpty == nil || !s.rules.MayBeEmpty(path)):
			return At(n, s.empty(path, n.Value))
		case strings.ContainsRune(n.Value, 0):
			return At(n, errors.New("a NUL character can be in no command and no header"))
		}
	case yaml.DocumentNode, yaml.StreamNode: // not within a document
	}
	return nil
}

// empty is what is wrong with a value that means none.
func (s *scan) empty(path []string, text string) error {
	if s.rules.Empty != nil {
		if err := s.rules.Empty(path, text); err != nil {
			return err
		}
	}
	if text != "" {
		return fmt.Errorf("%s means no value: for the text, write %q", text, text)
	}
	return errors.New("no value: write one, or leave the key out")
}

func (s *scan) visitMapping(n *yaml.Node, path []string) error {
	seen := make(map[string]*yaml.Node)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind != yaml.ScalarNode || isNull(key) || key.Style&yaml.TaggedStyle != 0 {
			return At(key, errors.New("want a plain key"))
		}
		if first := seen[key.Value]; first != nil {
			return At(key, fmt.Errorf("key %q is there already, in line %d", key.Value, first.Line))
		}
		seen[key.Value] = key
		below := append(slices.Clip(path), key.Value)
		if key.ShortTag() == "!!merge" {
			below = path
			if list := Target(value); list.Kind == yaml.SequenceNode {
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

// Target is what an alias stands for.
func Target(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// placed is an error and where in the file it is.
type placed struct {
	line, column int
	err          error
}

func (e *placed) Error() string { return fmt.Sprintf("[%d:%d] %v", e.line, e.column, e.err) }

func (e *placed) Unwrap() error { return e.err }

// At is an error with the place of a value before it.
func At(n *yaml.Node, err error) error { return &placed{n.Line, n.Column, err} }

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
