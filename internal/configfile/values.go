package configfile

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/millhand/millhand/internal/timespan"
)

// A Count is a whole number. Notations that another reader of YAML might take for another
// number, or for a fraction, are errors.
type Count int

// UnmarshalYAML implements yaml.Unmarshaler.
func (c *Count) UnmarshalYAML(n *yaml.Node) error {
	v, err := strconv.Atoi(n.Value)
	if errors.Is(err, strconv.ErrRange) && !strings.HasPrefix(n.Value, "-") {
		return At(n, fmt.Errorf("%s is too large: at most %d", Shown(n), math.MaxInt))
	}
	if err != nil || strconv.Itoa(v) != n.Value {
		return At(n, fmt.Errorf("%s: want a whole number such as 100", Shown(n)))
	}
	*c = Count(v)
	return nil
}

// A Boolean is true or false. As for [Count], words that only some readers take for that are errors, such as yes.
type Boolean bool

// UnmarshalYAML implements yaml.Unmarshaler.
func (b *Boolean) UnmarshalYAML(n *yaml.Node) error {
	if n.ShortTag() != "!!bool" {
		return At(n, fmt.Errorf("%s: want true or false", Shown(n)))
	}
	return n.Load((*bool)(b))
}

// A Fraction is a number that need not be whole. As for [Count], notations that other readers
// take for other numbers are errors.
type Fraction float64

// UnmarshalYAML implements yaml.Unmarshaler.
func (f *Fraction) UnmarshalYAML(n *yaml.Node) error {
	tag := n.ShortTag()
	if tag != "!!int" && tag != "!!float" || regexp.MustCompile(`_|^[-+]?0[0-9box]`).MatchString(strings.ToLower(n.Value)) {
		return At(n, fmt.Errorf("%s: want a number such as 1.5", Shown(n)))
	}
	return n.Load((*float64)(f))
}

// A Duration is a time.Duration whose error tells where in the file it stands.
type Duration time.Duration

// UnmarshalYAML implements yaml.Unmarshaler.
func (d *Duration) UnmarshalYAML(n *yaml.Node) error {
	v, err := timespan.Parse(n.Value)
	if errors.Is(err, timespan.ErrTooLong) {
		return At(n, err)
	}
	if err != nil {
		return At(n, fmt.Errorf("%s is no duration such as 30s", Shown(n)))
	}
	*d = Duration(v)
	return nil
}

// Shown is a value as messages have it: its text in quotes, or what it is else.
func Shown(n *yaml.Node) string {
	if n.Kind == yaml.ScalarNode {
		return strconv.Quote(n.Value)
	}
	if n.Kind == yaml.SequenceNode {
		return "a list"
	}
	return "a mapping"
}
