package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/millhand/millhand/internal/cli"
)

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

// readLine returns the next line; of one that is too long it reads the rest and says so.
func readLine(r *bufio.Reader) (text []byte, err error) {
	for {
		part, err := r.ReadSlice('\n')
		if len(text)+len(part) > bulkLine {
			for errors.Is(err, bufio.ErrBufferFull) {
				_, err = r.ReadSlice('\n')
			}
			return nil, errLineTooLong
		}
		text = append(text, part...)
		if !errors.Is(err, bufio.ErrBufferFull) {
			return text, err
		}
	}
}

// checkText refuses what JSON cannot have, and what its decoder would replace.
func checkText(text []byte) error {
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRune(text[i:])
		if r == utf8.RuneError && size == 1 {
			return fmt.Errorf("not UTF-8: byte %d is 0x%02x; convert the file with iconv -t UTF-8", i+1, text[i])
		}
		i += size
	}
	return nil
}

// checkEscapes refuses half a character, \ud800 to \udfff without its other half.
func checkEscapes(text []byte) error {
	for i := 0; i+1 < len(text); i++ {
		if text[i] != '\\' {
			continue
		}
		i++ // what is escaped
		first := escaped(text[i:])
		if !utf16.IsSurrogate(first) {
			continue
		}
		if i+6 < len(text) && text[i+5] == '\\' && utf16.DecodeRune(first, escaped(text[i+6:])) != utf8.RuneError {
			i += 10 // both halves
			continue
		}
		return fmt.Errorf("\\%s is half a character", text[i:i+5])
	}
	return nil
}

// escaped is the character of the escape whose letter u text begins with; 0 if it is none.
func escaped(text []byte) rune {
	if len(text) < 5 || text[0] != 'u' {
		return 0
	}
	n, err := strconv.ParseUint(string(text[1:5]), 16, 16)
	if err != nil {
		return 0
	}
	return rune(n)
}

// checkJSON holds a payload typed by a person to the convention.
func checkJSON(b []byte) error {
	if !utf8.Valid(b) {
		return errors.New("not UTF-8, as JSON must be; bytes of any kind go by @FILE or -")
	}
	if json.Valid(b) {
		return nil
	}
	var v any
	err := json.Unmarshal(b, &v)
	return fmt.Errorf("%w; quote the JSON for the shell, as in '{\"to\":\"a@example.com\"}'", err)
}
