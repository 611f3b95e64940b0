package stream

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millhand/millhand/internal/natstest"
)

func (s *scene) bucket(c *Client) *Bucket { return c.Bucket("registry", "a test") }

// put writes a key, with the other client.
func (s *scene) put(key, value string) uint64 {
	s.t.Helper()
	rev, err := s.bucket(s.other).Put(s.ctx, Write{Key: key, Value: []byte(value)})
	if err != nil {
		s.t.Fatalf("put %s: %v", key, err)
	}
	return rev
}

// Whatever is asked of a bucket that is not there makes it.
func TestBucketIsMade(t *testing.T) {
	for name, ask := range map[string]func(s *scene, b *Bucket) error{
		"put":        func(s *scene, b *Bucket) error { _, err := b.Put(s.ctx, Write{Key: "k"}); return err },
		"get":        func(s *scene, b *Bucket) error { _, err := b.Get(s.ctx, "k"); return err },
		"read":       func(s *scene, b *Bucket) error { _, _, err := b.Read(s.ctx, "k"); return err },
		"read pages": func(s *scene, b *Bucket) error { _, _, err := b.ReadPages(s.ctx, ">", 1); return err },
	} {
		t.Run(name, func(t *testing.T) {
			inScene(t, func(s *scene) {
				b := s.bucket(s.client)
				_ = ask(s, b) // which may find none yet
				if err := ask(s, b); err != nil && !errors.Is(err, ErrNotFound) {
					s.t.Errorf("the second time: %v", err)
				}
			})
		})
	}
}

func TestBucketPutAndGet(t *testing.T) {
	inScene(t, func(s *scene) {
		b := s.bucket(s.client)
		made, err := b.Open(s.ctx)
		if err != nil {
			s.t.Fatal(err)
		}
		rev, err := b.Put(s.ctx, Write{Key: "a.x", Value: []byte("1"), On: "a.*"})
		if err != nil {
			s.t.Fatal(err)
		}
		for what, w := range map[string]Write{
			"a new key that is there":       {Key: "a.x", On: "a.x"},
			"a new key among others":        {Key: "a.y", On: "a.*"},
			"a revision that never was":     {Key: "a.x", On: "a.x", Rev: rev + 1},
			"the removal of another's hand": {Key: "a.x", On: "a.x", Rev: rev + 1, Remove: true},
		} {
			if _, err := b.Put(s.ctx, w); !errors.Is(err, ErrConflict) {
				s.t.Errorf("%s: %v", what, err)
			}
		}
		e, err := b.Get(s.ctx, "a.x")
		if err != nil || string(e.Value) != "1" || e.Rev != rev || e.Key != "a.x" || e.Time.Before(made) {
			s.t.Errorf("%+v, %v", e, err)
		}
		if _, err := b.Put(s.ctx, Write{Key: "a.x", On: "a.x", Rev: rev, Remove: true, TTL: time.Minute}); err != nil {
			s.t.Fatal(err)
		}
		if _, err := b.Get(s.ctx, "a.x"); !errors.Is(err, ErrNotFound) {
			s.t.Errorf("a key that was removed: %v", err)
		}
		if e, err := b.Last(s.ctx, "a.*"); err != nil || e.Value != nil || e.Expired || e.TTL != time.Minute {
			s.t.Errorf("the removal is %+v, %v", e, err)
		}
		if n, err := b.Purge(s.ctx, "a.x"); err != nil || n != 1 {
			s.t.Errorf("%d entries purged, %v", n, err)
		}
		if _, err := b.Last(s.ctx, "a.*"); !errors.Is(err, ErrNotFound) {
			s.t.Errorf("a key that was purged: %v", err)
		}
	})
}

// A key with a TTL ends by itself, is seen to have, and then leaves no trace.
func TestBucketKeysExpire(t *testing.T) {
	inScene(t, func(s *scene) {
		b := s.bucket(s.client)
		if _, err := b.Open(s.ctx); err != nil {
			s.t.Fatal(err)
		}
		if _, err := b.Put(s.ctx, Write{Key: "k", Value: []byte("x"), TTL: 3 * time.Second}); err != nil {
			s.t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		if e, err := b.Get(s.ctx, "k"); err != nil || e.TTL != 3*time.Second {
			s.t.Fatalf("%+v, %v", e, err)
		}
		time.Sleep(1500 * time.Millisecond)
		if e, err := b.Last(s.ctx, "k"); err != nil || e.Value != nil || !e.Expired {
			s.t.Errorf("just after the end: %+v, %v", e, err)
		}
		time.Sleep(time.Minute)
		if _, err := b.Last(s.ctx, "k"); !errors.Is(err, ErrNotFound) {
			s.t.Errorf("long after: %v", err)
		}
	})
}

// A read finds all keys, however many there are, and those that are written meanwhile.
func TestBucketReadsAnyNumberOfKeys(t *testing.T) {
	inScene(t, func(s *scene) {
		b := s.bucket(s.client)
		if _, err := b.Open(s.ctx); err != nil {
			s.t.Fatal(err)
		}
		for i := range 2500 {
			s.put(fmt.Sprintf("many.k%d", i), "1")
		}
		last := s.put("few.k", "1")
		entries, upTo, err := b.ReadAtOnce(s.ctx, "few.*", "none.*")
		if err != nil || len(entries) != 1 || upTo != last {
			s.t.Errorf("%d entries up to %d, %v", len(entries), upTo, err)
		}
		if _, _, err := b.ReadAtOnce(s.ctx, "many.*"); !errors.Is(err, ErrTooMany) {
			s.t.Errorf("of too many: %v", err)
		}
		pages := 0
		s.link.Watch(func(subject string) natstest.Fate {
			if strings.HasPrefix(subject, "$JS.API.DIRECT.GET") {
				if pages++; pages == 3 { // the first is refused: too many
					s.put("many.k0", "2")
					s.put("many.new", "2")
				}
			}
			return natstest.Pass
		})
		entries, upTo, err = b.Read(s.ctx, "many.*", "few.*")
		if err != nil || len(entries) != 2502 {
			s.t.Fatalf("%d entries, %v", len(entries), err)
		}
		values := make(map[string]int)
		for _, e := range entries {
			values[string(e.Value)]++
		}
		if values["1"] != 2500 || values["2"] != 2 {
			s.t.Errorf("values: %v", values)
		}
		if missing := slices.ContainsFunc(entries, func(e Entry) bool { return string(e.Value) == "2" && e.Rev <= upTo }); missing {
			s.t.Errorf("the read says to be true up to %d, and has what was written after", upTo)
		}
	})
}

// Large keys are read in parts, each of which arrives in time over a slow connection.
func TestBucketReadsLargeKeysInParts(t *testing.T) {
	inScene(t, func(s *scene) {
		b := s.bucket(s.client)
		if _, err := b.Open(s.ctx); err != nil {
			s.t.Fatal(err)
		}
		value := strings.Repeat("x", 64<<10)
		for i := range 40 {
			s.put(fmt.Sprintf("large.k%d", i), value)
		}
		if _, _, err := b.ReadAtOnce(s.ctx, "large.*"); !errors.Is(err, ErrTooMany) {
			s.t.Errorf("2.5 MB at once: %v", err)
		}
		parts := 0
		s.link.Watch(func(subject string) natstest.Fate {
			if strings.HasPrefix(subject, "$JS.API.DIRECT.GET") {
				parts++
			}
			return natstest.Pass
		})
		entries, _, err := b.Read(s.ctx, "large.*")
		if err != nil || len(entries) != 40 || parts < 1+40*len(value)/pageBytes {
			s.t.Errorf("%d entries in %d parts, %v", len(entries), parts, err)
		}
		for _, e := range entries {
			if string(e.Value) != value {
				s.t.Errorf("%s has %d bytes", e.Key, len(e.Value))
			}
		}
	})
}
