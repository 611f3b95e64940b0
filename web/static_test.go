package web

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"
)

// What is vendored is as it was published, and all that is ours is short enough to be read.
func TestStaticFiles(t *testing.T) {
	list, err := staticFiles.ReadFile("static/vendored.txt")
	if err != nil {
		t.Fatal(err)
	}
	vendored := make(map[string]string)
	for line := range strings.Lines(string(list)) {
		if f := strings.Fields(line); len(f) == 5 && f[0] != "#" {
			vendored[f[0]] = f[4]
		}
	}
	files, err := staticFiles.ReadDir("static")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		body, err := staticFiles.ReadFile("static/" + f.Name())
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(body)
		switch want, ok := vendored[f.Name()]; {
		case ok && hex.EncodeToString(sum[:]) != want:
			t.Errorf("%s is not as vendored.txt has it", f.Name())
		case !ok && strings.HasSuffix(f.Name(), ".min.js"):
			t.Errorf("%s: vendored.txt does not say where it is from", f.Name())
		case f.Name() == "app.js" && bytes.Count(body, []byte("\n")) > 400:
			t.Errorf("app.js has %d lines, want at most 400", bytes.Count(body, []byte("\n")))
		case f.Name() == "app.css" && len(body) > 24<<10:
			t.Errorf("app.css has %d bytes, want at most 24 KiB", len(body))
		}
	}
}
