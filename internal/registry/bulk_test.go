package registry

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/natstest"
	"github.com/millhand/millhand/internal/stream"
)

func (s *scene) openBulk(name string) (*BulkKeeper, Bulk) {
	s.t.Helper()
	k, b, err := s.store.OpenBulk(s.ctx, name)
	if err != nil {
		s.t.Fatalf("open bulk %s: %v", name, err)
	}
	return k, b
}

func (s *scene) saveBulk(k *BulkKeeper, b Bulk) {
	s.t.Helper()
	if err := k.Save(s.ctx, b); err != nil {
		s.t.Fatalf("save %+v: %v", b, err)
	}
}

func TestBulkIsKeptForAWeek(t *testing.T) {
	inScene(t, func(s *scene) {
		k, b := s.openBulk("nightly")
		if b != (Bulk{}) {
			s.t.Errorf("a new name has %+v", b)
		}
		want := Bulk{Lines: 2000, Refused: 3, SHA256: "abc", Done: true}
		s.saveBulk(k, Bulk{Lines: 1000, SHA256: "ab"})
		s.saveBulk(k, want)
		if _, b := s.openBulk("nightly"); b != want {
			s.t.Errorf("kept %+v, want %+v", b, want)
		}
		if e, err := s.store.Bucket().Get(s.ctx, bulkKey("nightly")); err != nil || e.TTL != BulkTTL {
			s.t.Errorf("kept for %v, %v, want %v", e.TTL, err, BulkTTL)
		}
		if _, err := s.store.Bucket().Purge(s.ctx, bulkKey("nightly")); err != nil { // as if it had expired
			s.t.Fatal(err)
		}
		if _, b := s.openBulk("nightly"); b != (Bulk{}) {
			s.t.Errorf("then there is %+v", b)
		}
		s.saveBulk(k, want) // whoever goes on that late
		if _, b := s.openBulk("nightly"); b != want {
			s.t.Errorf("kept %+v, want %+v", b, want)
		}
	})
}

// Two processes of one name: it cannot go back to what the slower one knows.
func TestBulkIsOfOneProcess(t *testing.T) {
	inScene(t, func(s *scene) {
		one, _ := s.openBulk("a")
		other, _ := s.openBulk("a")
		ahead := Bulk{Lines: 2000}
		s.saveBulk(one, Bulk{Lines: 1000})
		if err := other.Save(s.ctx, Bulk{Lines: 3}); !errors.Is(err, ErrBulkTaken) {
			s.t.Errorf("the slower one: %v, want ErrBulkTaken", err)
		}
		s.saveBulk(one, ahead)
		if _, b := s.openBulk("a"); b != ahead {
			s.t.Errorf("kept %+v, want %+v", b, ahead)
		}
	})
}

// The answer is lost: what was stored is found, and not taken for somebody else's.
func TestBulkWhoseAnswerIsLost(t *testing.T) {
	inScene(t, func(s *scene) {
		link := s.server.Link()
		k, _, err := NewStore(s.connect(link.Connect(s.t)), s.logger()).OpenBulk(s.ctx, "a")
		if err != nil {
			s.t.Fatal(err)
		}
		cut := false
		link.Watch(func(subject string) natstest.Fate {
			if strings.Contains(subject, bulkKey("a")) && strings.HasPrefix(subject, "$KV.") && !cut {
				cut = true
				return natstest.CutAfter
			}
			return natstest.Pass
		})
		want := Bulk{Lines: 1000}
		s.saveBulk(k, want)
		s.saveBulk(k, Bulk{Lines: 2000})
		if !cut {
			s.t.Error("no answer was lost")
		}
	})
}

func TestBulkThatCannotBeKept(t *testing.T) {
	inScene(t, func(s *scene) {
		if _, _, err := s.store.OpenBulk(s.ctx, "a b"); !isInvalid(err) {
			s.t.Errorf("a name with a space: %v", err)
		}
		if err := s.store.Open(s.ctx); err != nil {
			s.t.Fatal(err)
		}
		if _, err := s.store.Bucket().Put(s.ctx, stream.Write{Key: bulkKey("odd"), Value: []byte("no JSON")}); err != nil {
			s.t.Fatal(err)
		}
		if _, _, err := s.store.OpenBulk(s.ctx, "odd"); err == nil || !strings.Contains(err.Error(), "remove it with 'nats kv del millhand-registry bulk.odd'") {
			s.t.Errorf("an unreadable value: %v, want an error that says what to do", err)
		}
		k, _ := s.openBulk("a")
		ctx, cancel := context.WithTimeout(s.ctx, time.Minute)
		defer cancel()
		s.server.Stop()
		begin := time.Now()
		if err := k.Save(ctx, Bulk{Lines: 1}); err == nil || time.Since(begin) < time.Minute {
			s.t.Errorf("without a broker: %v after %v, want an error after a minute", err, time.Since(begin))
		}
		s.server.Start(s.t)
	})
}

func isInvalid(err error) bool {
	_, ok := errors.AsType[*job.InvalidError](err)
	return ok
}
