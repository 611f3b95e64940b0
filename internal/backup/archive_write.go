package backup

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"time"

	"github.com/klauspost/compress/zstd"
)

// The members of an archive.
const (
	headerName   = "millhand-backup.json"
	streamsName  = "streams/"
	manifestName = "manifest.json"
	sumName      = "manifest.sha256"
)

// partSize is how much of a stream one member has: a tar says the size of a member before what is in it.
const partSize = 1 << 20

// A writer writes an archive.
type writer struct {
	tar *tar.Writer
	zip *zstd.Encoder
	now time.Time // that the members bear
}

func newWriter(w io.Writer, now time.Time) (*writer, error) {
	zip, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	return &writer{tar: tar.NewWriter(zip), zip: zip, now: now}, nil
}

func (w *writer) member(name string, data []byte) error {
	err := w.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o600, Size: int64(len(data)), ModTime: w.now.Truncate(time.Second)})
	if err != nil {
		return err
	}
	_, err = w.tar.Write(data)
	return err
}

func (w *writer) header(h *Header) error {
	b, err := json.MarshalIndent(h, "", "  ")
	if err != nil {
		return err
	}
	return w.member(headerName, b)
}

// finish writes the manifest, and the end of the archive.
func (w *writer) finish(m *Manifest) error {
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	sum := sha256.Sum256(b)
	for _, err := range []error{w.member(manifestName, b), w.member(sumName, hex.AppendEncode(nil, sum[:])), w.tar.Close()} {
		if err != nil {
			return err
		}
	}
	return w.zip.Close()
}

// parts writes a stream, part by part.
type parts struct {
	to    *writer
	of    *Stream // is told how much there is
	sum   hash.Hash
	part  []byte
	count int
}

func (w *writer) stream(s *Stream) *parts {
	return &parts{to: w, of: s, sum: sha256.New(), part: make([]byte, 0, partSize)}
}

// Write implements [io.Writer].
func (p *parts) Write(b []byte) (n int, err error) {
	for len(b) > 0 {
		some := min(len(b), partSize-len(p.part))
		p.part = append(p.part, b[:some]...)
		b, n = b[some:], n+some
		if len(p.part) == partSize {
			if err := p.flush(); err != nil {
				return n, err
			}
		}
	}
	return n, nil
}

func (p *parts) flush() error {
	p.count++
	_, _ = p.sum.Write(p.part) // never fails
	p.of.Bytes += int64(len(p.part))
	err := p.to.member(partName(p.of.Name, p.count), p.part)
	p.part = p.part[:0]
	return err
}

func partName(stream string, n int) string { return fmt.Sprintf("%s%s/%08d", streamsName, stream, n) }

// close writes what is left.
func (p *parts) close() error {
	if len(p.part) > 0 {
		if err := p.flush(); err != nil {
			return err
		}
	}
	p.of.Parts, p.of.SHA256 = p.count, hex.EncodeToString(p.sum.Sum(nil))
	return nil
}
