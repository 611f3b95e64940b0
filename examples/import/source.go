package main

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
)

// A source is a server with the file.
type source struct {
	url   string
	size  int64
	lines [][]byte // those that are right, but for parts that are no text
	close func()
	total loaded
}

// newSource serves a file of so many lines, of which one in a thousand is wrong, with two places that are no text.
func newSource(lines int) (*source, error) {
	var file []byte
	for n := range lines {
		switch {
		case n%1000 == 7:
			file = fmt.Appendf(file, "account-%08d,unknown\n", n)
		case n == lines/2, n == lines/4:
			file = append(file, "account-\xff\xfe,1\n"...)
		default:
			file = fmt.Appendf(file, "account-%08d,%d\n", n, n%500)
		}
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(file) })) // whoever gets less sees that
	res, err := http.Head(server.URL)                                                                                     //nolint:noctx // it is of this process
	if err != nil {
		server.Close()
		return nil, err
	}
	s := &source{url: server.URL, size: int64(len(file)), close: server.Close}
	s.read(file)
	return s, res.Body.Close()
}

// read is what the file is to become, by another way than the import's.
func (s *source) read(file []byte) {
	lost := make(map[int]bool)
	at := 0
	for line := range bytes.Lines(file) {
		if bytes.IndexByte(line, 0xff) >= 0 {
			lost[at/partSize] = true
		}
		at += len(line)
	}
	at = 0
	for line := range bytes.Lines(file) {
		var account, cents int
		switch n, _ := fmt.Sscanf(string(line), "account-%d,%d", &account, &cents); {
		case lost[at/partSize]:
		case n == 2:
			s.lines, s.total.Rows, s.total.Cents = append(s.lines, line), s.total.Rows+1, s.total.Cents+cents
		default:
			s.total.Rejected++
		}
		at += len(line)
	}
	s.total.Lost = slices.Sorted(func(yield func(int) bool) {
		for part := range lost {
			if !yield(part) {
				return
			}
		}
	})
}

// check compares what was published, and said of it, with the file.
func (s *source) check(published string, sum *loaded) error {
	if sum.Rows != s.total.Rows || sum.Cents != s.total.Cents || sum.Rejected != s.total.Rejected || !slices.Equal(sum.Lost, s.total.Lost) {
		return fmt.Errorf("the report says %+v, want %+v", *sum, s.total)
	}
	data, err := os.ReadFile(published)
	if err != nil {
		return err
	}
	got := slices.Collect(bytes.Lines(data))[1:] // without the head
	slices.SortFunc(got, bytes.Compare)
	if !slices.EqualFunc(got, s.lines, bytes.Equal) {
		return fmt.Errorf("%d lines are published, and not the %d of the file", len(got), len(s.lines))
	}
	return nil
}
