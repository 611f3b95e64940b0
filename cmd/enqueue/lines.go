package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/millhand/millhand/internal/cli"
)

const byteOrderMark = "\xef\xbb\xbf"

var errLineTooLong = fmt.Errorf("line is longer than %d MiB", bulkLine>>20)

// lines are the lines of an input.
type lines struct {
	in     *bufio.Reader
	number int       // of the line read last
	seen   hash.Hash // of all of them, with their ends; nil if nobody is to ask
}

func newLines(in io.Reader, summed bool) (*lines, error) {
	l := &lines{in: bufio.NewReaderSize(in, 64<<10)}
	if summed {
		l.seen = sha256.New()
	}
	return l, skipMark(l.in)
}

// sum is that of the bytes of all lines that were read, in hex.
func (l *lines) sum() string { return hex.EncodeToString(l.seen.Sum(nil)) }

// next returns the next line, or [io.EOF] after the last one. Of a line that is too long it reads
// all, and returns errLineTooLong.
func (l *lines) next(ctx context.Context) ([]byte, error) {
	text, err := l.read()
	switch {
	case ctx.Err() != nil: // and if it is the end: that of a writer interrupted with us
		return nil, ctx.Err()
	case errors.Is(err, errLineTooLong):
	case errors.Is(err, io.EOF) && len(text) == 0:
		return nil, err
	case err != nil && !errors.Is(err, io.EOF):
		return nil, fmt.Errorf("read line %d: %w", l.number+1, err)
	default:
		err = nil
	}
	l.number++
	return text, err
}

func (l *lines) read() (text []byte, err error) {
	tooLong := false
	for {
		part, err := l.in.ReadSlice('\n')
		if l.seen != nil {
			_, _ = l.seen.Write(part) // a hash takes everything
		}
		if tooLong = tooLong || len(text)+len(part) > bulkLine; !tooLong {
			text = append(text, part...)
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if tooLong {
			return nil, errLineTooLong
		}
		return text, err
	}
}

// skipMark skips the byte order mark that some programs begin a text with. What begins as
// no text does is an error that names it.
func skipMark(r *bufio.Reader) error {
	start, _ := r.Peek(4) // reading on meets the error
	if bytes.HasPrefix(start, []byte(byteOrderMark)) {
		_, _ = r.Discard(len(byteOrderMark)) // it is there
		return nil
	}
	for _, other := range []struct{ begins, is string }{
		{"\xff\xfe\x00\x00", "text in UTF-32: convert it with iconv -f UTF-32 -t UTF-8"},
		{"\x00\x00\xfe\xff", "text in UTF-32: convert it with iconv -f UTF-32 -t UTF-8"},
		{"\xff\xfe", "text in UTF-16: convert it with iconv -f UTF-16 -t UTF-8"},
		{"\xfe\xff", "text in UTF-16: convert it with iconv -f UTF-16 -t UTF-8"},
		{"{\x00", "text in UTF-16: convert it with iconv -f UTF-16LE -t UTF-8"},
		{"\x00{", "text in UTF-16: convert it with iconv -f UTF-16BE -t UTF-8"},
		{"\x1f\x8b", "compressed with gzip: use gunzip -c FILE | enqueue --from -"},
		{"\x28\xb5\x2f\xfd", "compressed with zstd: use zstd -dc FILE | enqueue --from -"},
		{"BZh", "compressed with bzip2: use bunzip2 -c FILE | enqueue --from -"},
		{"\xfd7zX", "compressed with xz: use xz -dc FILE | enqueue --from -"},
		{"PK\x03\x04", "a zip archive: use unzip -p FILE | enqueue --from -"},
	} {
		if bytes.HasPrefix(start, []byte(other.begins)) {
			return cli.Usagef("--from: want a JSON object a line, and this is %s", other.is)
		}
	}
	return nil
}
