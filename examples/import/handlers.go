package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"unicode/utf8"

	"github.com/millhand/millhand"
)

// A site is the directory in which imports do their work. All workers share it.
type site string

func (s site) file(name string) string  { return filepath.Join(string(s), name+".csv") }
func (s site) parts(name string) string { return filepath.Join(string(s), name+".parts") }
func (s site) part(name string, n int) string {
	return filepath.Join(s.parts(name), strconv.Itoa(n))
}
func (s site) public(name string) string { return filepath.Join(string(s), "public", name+".csv") }

// store writes a file whole or not at all, so that a job which runs twice changes nothing.
func store(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".new-")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(tmp.Name()) }() // it is not there if all went well
	if _, err := tmp.Write(data); err != nil {
		return errors.Join(err, tmp.Close())
	}
	return errors.Join(tmp.Close(), os.Rename(tmp.Name(), path))
}

// A loaded is what came of one part, and a summary of them all.
type loaded struct {
	Rows     int
	Cents    int
	Rejected int   // lines
	Lost     []int `json:",omitempty"` // parts
}

func newMux(s site) *millhand.Mux {
	mux := millhand.NewMux()
	millhand.Handle(mux, s.fetch)
	millhand.HandleResult(mux, s.load)
	millhand.HandleResult(mux, s.report)
	millhand.Handle(mux, s.publish)
	millhand.Handle(mux, s.withdraw)
	millhand.Handle(mux, func(context.Context, *millhand.Job[announce]) error { return nil }) // a mail, perhaps
	millhand.Handle(mux, s.clean)
	return mux
}

func (s site) fetch(ctx context.Context, j *millhand.Job[fetch]) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, j.Args.URL, http.NoBody)
	if err != nil {
		return millhand.Permanent(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	data, err := io.ReadAll(res.Body)
	if err = errors.Join(err, res.Body.Close()); err != nil {
		return err
	}
	if int64(len(data)) != j.Args.Size {
		return millhand.Permanent(fmt.Errorf("it has %d bytes and had %d when the import began", len(data), j.Args.Size))
	}
	return store(s.file(j.Args.Import), data)
}

// load loads the lines that begin in its part. Lines that are wrong are counted; of a part that is no text nothing
// can be loaded, which no other attempt changes.
func (s site) load(_ context.Context, j *millhand.Job[load]) (loaded, error) {
	lines, err := s.lines(j.Args)
	if err != nil {
		return loaded{}, err
	}
	var got loaded
	var rows []byte
	for line := range bytes.Lines(lines) {
		if !utf8.Valid(line) {
			return loaded{}, millhand.Permanent(errors.New("it is no text"))
		}
		_, amount, ok := bytes.Cut(bytes.TrimSpace(line), []byte(","))
		cents, err := strconv.Atoi(string(amount))
		if !ok || err != nil {
			got.Rejected++
			continue
		}
		got.Rows, got.Cents, rows = got.Rows+1, got.Cents+cents, append(rows, line...)
	}
	return got, store(s.part(j.Args.Import, j.Args.Part), rows)
}

// lines reads the lines that begin in a part.
func (s site) lines(of load) ([]byte, error) {
	f, err := os.Open(s.file(of.Import))
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was read only
	from := max(int64(of.Part)*partSize-1, 0)
	data := make([]byte, 2*partSize)
	n, err := f.ReadAt(data, from)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	data = data[:n]
	begin, end := 0, partSize
	if of.Part > 0 { // a line that begins before is of the part before
		begin, end = bytes.IndexByte(data, '\n')+1, partSize+1
	}
	if end < len(data) {
		end = end - 1 + bytes.IndexByte(data[end-1:], '\n') + 1
	}
	return data[begin:min(end, len(data))], nil
}

// report sums up what the parts have returned. Some may be lost.
func (s site) report(ctx context.Context, j *millhand.Job[report]) (loaded, error) {
	var sum loaded
	for part, err := range millhand.GroupResults[loaded](ctx, j, "load") {
		if none, ok := errors.AsType[*millhand.NoResultError](err); ok {
			sum.Lost = append(sum.Lost, none.Job)
			continue
		}
		if err != nil {
			return loaded{}, err
		}
		sum.Rows, sum.Cents, sum.Rejected = sum.Rows+part.Rows, sum.Cents+part.Cents, sum.Rejected+part.Rejected
	}
	return sum, nil
}

// An approval is what a person signals.
type approval struct{ By string }

func (s site) publish(ctx context.Context, j *millhand.Job[publish]) error {
	by, err := millhand.StepResult[approval](ctx, j, "approved")
	if _, ok := errors.AsType[*millhand.NoResultError](err); ok {
		return millhand.Permanent(errors.New("nobody approved in time"))
	}
	if err != nil {
		return err
	}
	sum, err := millhand.StepResult[loaded](ctx, j, "report")
	if err != nil {
		return err
	}
	names, err := filepath.Glob(filepath.Join(s.parts(j.Args.Import), "[0-9]*"))
	if err != nil {
		return err
	}
	all := fmt.Appendf(nil, "# %d rows, approved by %s\n", sum.Rows, by.By)
	for _, name := range names {
		rows, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		all = append(all, rows...)
	}
	return store(s.public(j.Args.Import), all)
}

func (s site) withdraw(_ context.Context, j *millhand.Job[withdraw]) error {
	return remove(s.public(j.Args.Import))
}

func (s site) clean(_ context.Context, j *millhand.Job[clean]) error {
	return errors.Join(remove(s.file(j.Args.Import)), os.RemoveAll(s.parts(j.Args.Import)))
}

func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
