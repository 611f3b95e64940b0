package backup

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// ErrArchive says that a file is no whole archive of ours. Nothing was done with it.
var ErrArchive = errors.New("this archive is not restored")

// maxManifest bounds what is read at once of what somebody may have written.
const maxManifest = 64 << 20

// maxDecoder bounds the memory of decompression.
const maxDecoder = 64 << 20

// What an archive may unpack to: so much, or so many times its own size. Jobs that differ by their ids alone are
// packed to a fiftieth; what is made to fill a disk, to much less.
const (
	unpacksTo    = 64 << 20
	unpacksTimes = 1000
)

// A reader reads an archive, member by member.
type reader struct {
	tar *tar.Reader
	zip *zstd.Decoder

	next *tar.Header // that was looked at and not read; nil: none
}

func newReader(ctx context.Context, r io.Reader) (*reader, error) {
	file := &interruptible{ctx: ctx, r: r}
	zip, err := zstd.NewReader(file, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxDecoder))
	if err != nil {
		return nil, err
	}
	return &reader{tar: tar.NewReader(&unpacked{file: file, zip: zip}), zip: zip}, nil
}

func (r *reader) close() { r.zip.Close() }

// An interruptible reader ends with its context.
type interruptible struct {
	ctx context.Context //nolint:containedctx // a reader has no other way to be told
	r   io.Reader
	n   int64 // bytes read
}

// Read implements [io.Reader].
func (i *interruptible) Read(b []byte) (int, error) {
	if i.ctx.Err() != nil {
		return 0, context.Cause(i.ctx)
	}
	n, err := i.r.Read(b)
	i.n += int64(n)
	return n, err
}

// An unpacked reader refuses more than an archive of its size can have.
type unpacked struct {
	file *interruptible
	zip  *zstd.Decoder
	n    int64
}

// Read implements [io.Reader].
func (u *unpacked) Read(b []byte) (int, error) {
	n, err := u.zip.Read(b)
	u.n += int64(n)
	if u.n > unpacksTo && u.n > unpacksTimes*u.file.n {
		return 0, fmt.Errorf("it unpacks to over %d bytes, %d times its size, as no backup does", u.n, unpacksTimes)
	}
	return n, err
}

// peek returns the next member without reading it.
func (r *reader) peek() (*tar.Header, error) {
	if r.next != nil {
		return r.next, nil
	}
	h, err := r.tar.Next()
	switch {
	case errors.Is(err, io.EOF):
		return nil, io.ErrUnexpectedEOF // the sum comes last, and is read by name
	case err != nil:
		return nil, err
	case h.Typeflag != tar.TypeReg:
		return nil, fmt.Errorf("%s is no file", h.Name)
	}
	r.next = h
	return h, nil
}

// file reads the member that must come next.
func (r *reader) file(name string) ([]byte, error) {
	h, err := r.peek()
	switch {
	case err != nil:
		return nil, err
	case h.Name != name:
		return nil, fmt.Errorf("there is %q in the place of %s", h.Name, name)
	case h.Size > maxManifest:
		return nil, fmt.Errorf("%s has %d bytes", name, h.Size)
	}
	r.next = nil
	return io.ReadAll(r.tar)
}

// stream begins the stream that comes next; the name is empty behind the last one. It must be read to
// its end before anything else.
func (r *reader) stream() (name string, body io.Reader, err error) {
	h, err := r.peek()
	if err != nil {
		return "", nil, err
	}
	rest, ok := strings.CutPrefix(h.Name, streamsName)
	if !ok {
		return "", nil, nil
	}
	name, _, _ = strings.Cut(rest, "/")
	return name, &partsOf{reader: r, name: name}, nil
}

// partsOf is the parts of one stream, one after the other.
type partsOf struct {
	*reader
	name  string
	count int
	part  bool // one is being read
}

// Read implements [io.Reader].
func (b *partsOf) Read(p []byte) (int, error) {
	for {
		if b.part {
			n, err := b.tar.Read(p)
			if errors.Is(err, io.EOF) {
				b.part, err = false, nil
			}
			if n > 0 || err != nil {
				return n, err
			}
		}
		h, err := b.peek()
		switch {
		case err != nil:
			return 0, err
		case h.Name == partName(b.name, b.count+1):
		case strings.HasPrefix(h.Name, streamsName+b.name+"/"):
			return 0, fmt.Errorf("there is %q in the place of part %d", h.Name, b.count+1)
		default:
			return 0, io.EOF
		}
		b.next, b.part = nil, true
		b.count++
	}
}

// Verify reads an archive to its end, and returns what it has if it is whole and as it was written. The
// error is an [ErrArchive] if not.
func Verify(ctx context.Context, r io.Reader) (*Manifest, error) {
	m, err := verify(ctx, r)
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err == nil, errors.Is(err, ErrArchive):
		return m, err
	case errors.Is(err, io.ErrUnexpectedEOF):
		err = errors.New("it is cut off")
	case errors.Is(err, zstd.ErrMagicMismatch):
		err = errors.New("it is no backup of Millhand")
	}
	return nil, fmt.Errorf("%w: %w", ErrArchive, err)
}

func verify(ctx context.Context, file io.Reader) (*Manifest, error) {
	r, err := newReader(ctx, file)
	if err != nil {
		return nil, err
	}
	defer r.close()
	head, err := r.head()
	if err != nil {
		return nil, err
	}
	found := make(map[string]*Stream)
	for {
		name, body, err := r.stream()
		if err != nil {
			return nil, err
		}
		if name == "" {
			break
		}
		if found[name] != nil {
			return nil, fmt.Errorf("stream %s is there twice", name)
		}
		if found[name], err = sumOf(body); err != nil {
			return nil, err
		}
	}
	m, err := r.manifest()
	if err != nil {
		return nil, err
	}
	if !reflect.DeepEqual(m.Header, *head) {
		return nil, errors.New("its header and its manifest differ")
	}
	if err := m.check(); err != nil {
		return nil, err
	}
	return m, m.agrees(found)
}

// head reads what an archive says of itself first.
func (r *reader) head() (*Header, error) {
	b, err := r.file(headerName)
	if err != nil {
		return nil, err
	}
	head := new(Header)
	if err := json.Unmarshal(b, head); err != nil {
		return nil, fmt.Errorf("%s: %w", headerName, err)
	}
	return head, head.check()
}

// manifest reads the manifest and what follows, which is nothing.
func (r *reader) manifest() (*Manifest, error) {
	b, err := r.file(manifestName)
	if err != nil {
		return nil, err
	}
	want, err := r.file(sumName)
	if err != nil {
		return nil, err
	}
	if sum := sha256.Sum256(b); !bytes.Equal(want, hex.AppendEncode(nil, sum[:])) {
		return nil, errors.New("its manifest was changed")
	}
	if _, err := r.tar.Next(); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is more behind its end")
	}
	if n, err := io.Copy(io.Discard, r.zip); err != nil || n > 0 {
		return nil, errors.Join(err, errors.New("there is more behind its end"))
	}
	m := new(Manifest)
	if err := json.Unmarshal(b, m); err != nil {
		return nil, fmt.Errorf("%s: %w", manifestName, err)
	}
	return m, nil
}

// sumOf reads the parts of a stream to their end.
func sumOf(body io.Reader) (*Stream, error) {
	sum := sha256.New()
	n, err := io.Copy(sum, body)
	if err != nil {
		return nil, err
	}
	return &Stream{Bytes: n, SHA256: hex.EncodeToString(sum.Sum(nil))}, nil
}

// agrees returns an error if the streams that were found are not those of the manifest.
func (m *Manifest) agrees(found map[string]*Stream) error {
	for _, s := range m.Streams {
		got := found[s.Name]
		switch {
		case got == nil && s.Bytes > 0:
			return fmt.Errorf("it lacks stream %s", s.Name)
		case got != nil && (got.Bytes != s.Bytes || got.SHA256 != s.SHA256):
			return fmt.Errorf("stream %s was changed", s.Name)
		}
	}
	if len(found) != len(m.Streams) {
		return errors.New("it has a stream that its manifest does not know")
	}
	return nil
}
