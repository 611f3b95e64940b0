package view

import (
	"encoding/base32"
	"encoding/binary"
	"errors"
	"hash/fnv"

	"github.com/millhand/millhand/internal/filter"
)

// ErrCursor says that a cursor is none of this list's.
var ErrCursor = errors.New("this cursor is not of a list with this filter, or what it pointed at is gone; leave it out to begin anew")

// cursorText has no characters that a shell or a URL takes for its own.
var cursorText = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding) //nolint:gochecknoglobals // constant

// cursorOf is where a list goes on: a sequence of a source, and what tells whether it is of this list.
func cursorOf(f filter.Filter, source string, seq uint64) string {
	b := binary.BigEndian.AppendUint16(nil, sum(f.String()))
	b = binary.BigEndian.AppendUint16(b, sum(source))
	return cursorText.EncodeToString(binary.AppendUvarint(b, seq))
}

// positionOf finds where a cursor points at.
func positionOf(cursor string, f filter.Filter, sources []source) (position, error) {
	if cursor == "" {
		return position{}, nil
	}
	b, err := cursorText.DecodeString(cursor)
	const sums = 4
	if err != nil || len(b) <= sums || binary.BigEndian.Uint16(b) != sum(f.String()) {
		return position{}, ErrCursor
	}
	seq, n := binary.Uvarint(b[sums:])
	if n <= 0 {
		return position{}, ErrCursor
	}
	for i, s := range sources {
		if binary.BigEndian.Uint16(b[2:]) == sum(s.name()) {
			return position{source: i, seq: seq}, nil
		}
	}
	return position{}, ErrCursor
}

func sum(text string) uint16 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(text)) // a hash takes all
	v := h.Sum32()
	return uint16(v>>16) ^ uint16(v) //nolint:gosec // both halves of it
}
