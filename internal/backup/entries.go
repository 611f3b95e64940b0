package backup

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"

	"github.com/klauspost/compress/s2"
	"github.com/nats-io/nats-server/v2/server/archive"
)

// How much of a stream is looked at together.
const (
	batchEntries = 256
	batchBytes   = 4 << 20
)

// stateName is the entry that a snapshot begins with: what the stream has.
const stateName = "state.json"

// An entry is one of a snapshot: a message, or the state of the stream.
type entry struct {
	archive.Header
	body []byte // headers and payload
}

// isEnd reports whether it is what ends a snapshot that is whole.
func (e *entry) isEnd() bool { return e.Name == "" && e.Sequence == 0 }

// maxEntry bounds an entry, bytes: no broker takes more.
const maxEntry = 64<<20 + 64<<10

func nextEntry(r *archive.Reader) (*entry, error) {
	h, err := r.Next()
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF // the end is an entry
		}
		return nil, fmt.Errorf("the snapshot: %w", err)
	}
	if h.HeaderSize < 0 || h.PayloadSize < 0 || h.HeaderSize > maxEntry || h.PayloadSize > maxEntry {
		return nil, fmt.Errorf("the snapshot: message %d has %d bytes", h.Sequence, h.PayloadSize)
	}
	e := &entry{Header: *h}
	e.body, err = io.ReadAll(r)
	if err == nil && int64(len(e.body)) != h.HeaderSize+h.PayloadSize {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, fmt.Errorf("the snapshot: message %d: %w", h.Sequence, err)
	}
	return e, nil
}

// A rewriter reads a snapshot as the archive has it, and is one that the broker takes: without some of
// its messages, and with another last sequence.
type rewriter struct {
	ctx     context.Context //nolint:containedctx // a reader has no other way to be told
	from    *archive.Reader
	lastSeq uint64 // from which the stream goes on
	keep    func(context.Context, []*entry) ([]*entry, error)
	wrote   func(messages int)

	out  bytes.Buffer
	zip  *s2.Writer
	to   *archive.Writer
	ends bool
}

func newRewriter(ctx context.Context, body io.Reader) *rewriter {
	r := &rewriter{ctx: ctx, from: archive.NewReader(body)}
	r.zip = s2.NewWriter(&r.out, s2.WriterConcurrency(1))
	r.to = archive.NewWriter(r.zip)
	return r
}

// Read implements [io.Reader].
func (r *rewriter) Read(b []byte) (int, error) {
	for r.out.Len() == 0 {
		if r.ends {
			return 0, io.EOF
		}
		if err := r.step(); err != nil {
			return 0, err
		}
	}
	return r.out.Read(b)
}

// step writes the next messages.
func (r *rewriter) step() error {
	batch, err := r.batch()
	if err != nil {
		return err
	}
	n := len(batch)
	if r.keep != nil {
		if batch, err = r.keep(r.ctx, batch); err != nil {
			return err
		}
	}
	for _, e := range batch {
		if err := r.write(e); err != nil {
			return err
		}
	}
	if r.wrote != nil {
		r.wrote(n)
	}
	if !r.ends {
		return r.zip.Flush()
	}
	if err := r.write(&entry{}); err != nil {
		return err
	}
	return r.zip.Close()
}

// batch reads messages, and writes the state of the stream where it comes.
func (r *rewriter) batch() (batch []*entry, err error) {
	for size := 0; len(batch) < batchEntries && size < batchBytes; {
		e, err := nextEntry(r.from)
		switch {
		case err != nil:
			return nil, err
		case e.isEnd():
			r.ends = true
			return batch, nil
		case e.Name == stateName && e.Sequence == 0:
			if e, err = goingOn(e, r.lastSeq); err == nil {
				err = r.write(e)
			}
			if err != nil {
				return nil, err
			}
		case e.Sequence == 0:
			return nil, fmt.Errorf("the snapshot: %q is none of a stream without consumers", e.Name)
		default:
			batch, size = append(batch, e), size+len(e.body)
		}
	}
	return batch, nil
}

func (r *rewriter) write(e *entry) error {
	if err := r.to.WriteHeader(&e.Header); err != nil {
		return err
	}
	if len(e.body) == 0 {
		return nil
	}
	_, err := r.to.Write(e.body)
	return err
}

// goingOn is the state of a stream whose next message has the sequence behind last.
func goingOn(state *entry, last uint64) (*entry, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(state.body, &fields); err != nil {
		return nil, fmt.Errorf("the snapshot: %s: %w", stateName, err)
	}
	was, err := strconv.ParseUint(string(fields["last_seq"]), 10, 64)
	if err != nil || last < was || last >= math.MaxUint64-1 {
		return nil, fmt.Errorf("the snapshot: %s: its last sequence is %s", stateName, fields["last_seq"])
	}
	fields["last_seq"] = json.RawMessage(strconv.FormatUint(last, 10))
	if string(fields["messages"]) == "0" { // of an empty stream the first sequence is the next one
		fields["first_seq"] = json.RawMessage(strconv.FormatUint(last+1, 10))
	}
	b, err := json.Marshal(fields)
	if err != nil {
		return nil, err
	}
	changed := &entry{Header: state.Header, body: b}
	changed.PayloadSize = int64(len(b))
	return changed, nil
}
