package web

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strconv"
	"strings"
)

//go:embed static/*
var staticFiles embed.FS

// A file never changes: its address has a part of its hash.
type file struct {
	name, kind  string
	body, small []byte // as it is, and compressed
}

// files are the static ones, by what their address ends in.
type files struct {
	byAddress map[string]*file
	address   map[string]string // by name
	base      string
}

func loadFiles(base string) (*files, error) {
	f := &files{byAddress: make(map[string]*file), address: make(map[string]string), base: base}
	entries, err := fs.ReadDir(staticFiles, "static")
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		body, err := staticFiles.ReadFile("static/" + e.Name())
		if err != nil {
			return nil, err
		}
		var small bytes.Buffer
		zip, err := gzip.NewWriterLevel(&small, gzip.BestCompression)
		if err != nil {
			return nil, err
		}
		_, _ = zip.Write(body) // into memory
		_ = zip.Close()        // likewise
		sum := sha256.Sum256(body)
		ext := path.Ext(e.Name())
		address := strings.TrimSuffix(e.Name(), ext) + "." + hex.EncodeToString(sum[:6]) + ext
		f.byAddress[address] = &file{name: e.Name(), kind: kindOf(ext), body: body, small: small.Bytes()}
		f.address[e.Name()] = base + "/static/" + address
	}
	return f, nil
}

// kindOf is the content type of a file. What the machine says of .js is not to be trusted.
func kindOf(ext string) string {
	switch ext {
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".css":
		return "text/css; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	}
	return mime.TypeByExtension(ext)
}

func (f *files) serve(w http.ResponseWriter, r *http.Request) {
	found := f.byAddress[r.PathValue("file")]
	if found == nil {
		http.Error(w, "no such file; the page that names it is of another version: reload it", http.StatusNotFound)
		return
	}
	head := w.Header()
	head.Set("Content-Type", found.kind)
	head.Set("Cache-Control", "public, max-age=31536000, immutable")
	head.Set("Vary", "Accept-Encoding")
	body := found.body
	if acceptsGzip(r) {
		head.Set("Content-Encoding", "gzip")
		body = found.small
	}
	head.Set("Content-Length", strconv.Itoa(len(body)))
	_, _ = w.Write(body) // the browser went away
}

func acceptsGzip(r *http.Request) bool {
	for encoding := range strings.SplitSeq(r.Header.Get("Accept-Encoding"), ",") {
		name, q, _ := strings.Cut(strings.TrimSpace(encoding), ";")
		if name == "gzip" && strings.ReplaceAll(q, " ", "") != "q=0" {
			return true
		}
	}
	return false
}

// A writeFlusher is what an answer is written to.
type writeFlusher interface {
	io.Writer
	Flush() error
}

type plainWriter struct{ io.Writer }

// Flush implements writeFlusher.
func (plainWriter) Flush() error { return nil }

// compressed returns what writes an answer the way the browser takes it, and what ends it.
func (v *visit) compressed(w http.ResponseWriter) (out writeFlusher, end func()) {
	w.Header().Add("Vary", "Accept-Encoding")
	if !acceptsGzip(v.r) {
		return plainWriter{w}, func() {}
	}
	w.Header().Set("Content-Encoding", "gzip")
	zip := gzip.NewWriter(w)
	return zip, func() { _ = zip.Close() } // the browser went away
}
