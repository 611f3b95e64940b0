package backup_test

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/backup"
)

// rewritten is an archive of which each member is changed; of one that becomes nil nothing is left.
func rewritten(t *testing.T, file []byte, change func(name string, data []byte) []byte) []byte {
	t.Helper()
	unzip, err := zstd.NewReader(bytes.NewReader(file), zstd.WithDecoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	defer unzip.Close()
	var out bytes.Buffer
	zip, err := zstd.NewWriter(&out, zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	from, to := tar.NewReader(unzip), tar.NewWriter(zip)
	for {
		h, err := from.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		data, read := io.ReadAll(from)
		if err := errors.Join(err, read); err != nil {
			t.Fatal(err)
		}
		if data = change(h.Name, data); data == nil {
			continue
		}
		h.Size = int64(len(data))
		if err := errors.Join(to.WriteHeader(h), second(to.Write(data))); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(to.Close(), zip.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func second(_ int, err error) error { return err }

// What is not whole, or not as it was written, is refused, and says what is the matter.
func TestABrokenArchiveIsRefused(t *testing.T) {
	inScene(t, func(m *mill) {
		m.enqueue("quick", "waits", millhand.WithDelay(time.Hour))
		m.enqueue("quick", "other", millhand.WithQueue("low"))
		file, _ := m.take(backup.Options{})
		drop := func(part string) []byte {
			return rewritten(m.t, file, func(name string, data []byte) []byte {
				if strings.Contains(name, part) {
					return nil
				}
				return data
			})
		}
		edit := func(part, old, other string) []byte {
			return rewritten(m.t, file, func(name string, data []byte) []byte {
				if strings.Contains(name, part) {
					return bytes.ReplaceAll(data, []byte(old), []byte(other))
				}
				return data
			})
		}
		forge := func(old, other string) []byte { // with a sum that is right
			var sum []byte
			return rewritten(m.t, file, func(name string, data []byte) []byte {
				switch name {
				case "manifest.json":
					data = regexp.MustCompile(old).ReplaceAll(data, []byte(other))
					is := sha256.Sum256(data)
					sum = hex.AppendEncode(nil, is[:])
				case "manifest.sha256":
					data = sum
				}
				return data
			})
		}
		if _, err := backup.Verify(m.t.Context(), bytes.NewReader(edit("x", "x", "y"))); err != nil {
			m.t.Fatalf("an archive that was written again as it is: %v", err)
		}
		for what, c := range map[string]struct {
			file []byte
			want string
		}{
			"nothing":                          {nil, "cut off"},
			"half of it":                       {file[:len(file)/2], "cut off"},
			"all but a byte":                   {file[:len(file)-1], "cut off"},
			"more behind it":                   {append(bytes.Clone(file), file...), "more behind its end"},
			"a text":                           {[]byte("a text, which is none"), "no backup of Millhand"},
			"another format":                   {edit("millhand-backup.json", "millhand-backup", "another"), "no backup of Millhand"},
			"a later version":                  {edit("millhand-backup.json", `"version": 1`, `"version": 2`), "later millhand"},
			"another header":                   {edit("millhand-backup.json", `"quiesced": false`, `"quiesced": true`), "header and its manifest differ"},
			"without its header":               {drop("millhand-backup.json"), "in the place of"},
			"without a manifest":               {drop("manifest"), "cut off"},
			"an edited manifest":               {edit("manifest.json", `"messages": 2`, `"messages": 1`), "manifest was changed"},
			"an edited message":                {edit("queue-default", "Millhand-", "Millhund-"), "millhand-queue-default was changed"},
			"without a queue":                  {drop("queue-low"), "lacks stream millhand-queue-low"},
			"no stream":                        {forge(`"streams": \[`, `"streams": [null,`), "stream that is none"},
			"a foreign stream":                 {forge(`"name": "millhand-queue-low"`, `"name": "ORDERS"`), "no stream of namespace"},
			"a stream elsewhere":               {forge(`"name": "millhand-queue-low"`, `"name": "../../x"`), "no stream of namespace"},
			"another stream":                   {forge(`"name": "millhand-queue-low"`, `"name": "millhand-queue-default"`), "no stream of namespace"},
			"the same stream twice":            {forge(`"name": "millhand-queue-low",(\s*)"kind": "queue",(\s*)"queue": "low"`, `"name": "millhand-queue-default","kind": "queue","queue": "default"`), "twice"},
			"of a namespace that begins alike": {forge(`"name": "millhand-queue-low"`, `"name": "millhand-b-queue-low"`), "no stream of namespace"},
			"another kind":                     {forge(`"kind": "events"`, `"kind": "dead"`), "no stream of namespace"},
			"no kind":                          {forge(`"kind": "events"`, `"kind": "other"`), "no stream of namespace"},
			"subjects of others":               {forge(`"millhand\.low\.ready\.[^"]*"`, `"orders.>"`), "not its own"},
			"subjects of another queue":        {forge(`"millhand\.low\.ready\.[^"]*"`, `"millhand.default.ready.*.*"`), "not its own"},
			"a mirror":                         {forge(`"config": \{`, `"config": {"mirror": {"name": "ORDERS"},`), "has mirror"},
			"what is published elsewhere":      {forge(`"config": \{`, `"config": {"republish": {"src": ">", "dest": "orders.>"},`), "has republish"},
			"far more than its file could have": {rewritten(m.t, file, func(name string, data []byte) []byte {
				if strings.Contains(name, "queue-low") {
					return make([]byte, 96<<20)
				}
				return data
			}), "unpacks to"},
			"no sequence":         {forge(`"last_seq": \d+`, `"last_seq": 18446744073709551615`), "further than any"},
			"another file inside": {rewritten(m.t, file, func(_ string, data []byte) []byte { return append(data, 0) }), "invalid character"},
		} {
			_, err := backup.Verify(m.t.Context(), bytes.NewReader(c.file))
			if !errors.Is(err, backup.ErrArchive) || !strings.Contains(err.Error(), c.want) {
				m.t.Errorf("%s: %v, want %q", what, err, c.want)
			}
		}
	})
}
