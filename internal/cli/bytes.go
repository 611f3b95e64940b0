package cli

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Bytes is a flag's value for a size, such as 500000, 64MiB or 10G.
type Bytes int64

// Set implements [pflag.Value].
func (b *Bytes) Set(s string) error {
	digits := strings.TrimLeft(s, "0123456789")
	n, err := strconv.ParseInt(strings.TrimSuffix(s, digits), 10, 64)
	unit, known := unitOf(digits)
	switch {
	case known && (errors.Is(err, strconv.ErrRange) || err == nil && n > math.MaxInt64/unit):
		return fmt.Errorf("%q is too large: at most 8388607TiB", s)
	case err != nil || !known || n < 1:
		return fmt.Errorf("%q: want a size such as 500000, 64MiB or 10GiB", s)
	}
	*b = Bytes(n * unit)
	return nil
}

// unitOf returns how many bytes a unit has. A letter alone is binary, as for the nats CLI.
func unitOf(name string) (int64, bool) {
	switch strings.ToLower(name) {
	case "", "b":
		return 1, true
	case "k", "kib":
		return 1 << 10, true
	case "m", "mib":
		return 1 << 20, true
	case "g", "gib":
		return 1 << 30, true
	case "t", "tib":
		return 1 << 40, true
	case "kb":
		return 1e3, true
	case "mb":
		return 1e6, true
	case "gb":
		return 1e9, true
	case "tb":
		return 1e12, true
	default:
		return 0, false
	}
}

// String implements [pflag.Value].
func (b *Bytes) String() string {
	if *b == 0 {
		return ""
	}
	return strconv.FormatInt(int64(*b), 10)
}

// Type implements [pflag.Value].
func (b *Bytes) Type() string { return "size" }
