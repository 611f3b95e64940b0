package registry

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand/internal/stream"
)

// A KnownPipeline is one that reads a stream, as the registry remembers it when no process serves it any more.
type KnownPipeline struct {
	Name     string `json:"name"`
	Stream   string `json:"stream"`
	Consumer string `json:"consumer"`     // a durable consumer, or a group
	Of       int    `json:"of,omitempty"` // how many partitions a group has; 0: it is a consumer

	Seen time.Time `json:"-"` // when one of its processes began, or had run for another day
}

// How long a pipeline is remembered, and how often that begins anew while a process serves it.
const (
	knownFor   = 30 * 24 * time.Hour
	knownAgain = 24 * time.Hour
	knownRetry = time.Minute
)

// Is reports whether a process's pipeline is the known one: another name changes nothing of what it takes.
func (k *KnownPipeline) Is(p *Pipeline) bool {
	return k.Stream == p.Stream && k.Consumer == p.Consumer && (k.Of > 0) == (p.Of > 0)
}

func (k *KnownPipeline) key() string {
	kind := "durable"
	if k.Of > 0 {
		kind = "group"
	}
	sum := sha256.Sum256([]byte(strings.Join([]string{kind, k.Stream, k.Consumer}, "\x00")))
	return pipeKeys + "." + hex.EncodeToString(sum[:8])
}

// remember has the registry know a pipeline for as long as its process runs, and a month beyond.
func (s *Store) remember(ctx context.Context, r Reader) {
	for {
		pause := knownAgain
		switch err := s.writeKnown(ctx, r.Pipeline()); {
		case errors.Is(err, nats.ErrPermissionViolation):
			r.Logger.InfoContext(ctx, "the pipeline is not remembered when no process serves it: this user may not write that to the registry", slog.Any("err", err))
			return
		case err != nil:
			pause = knownRetry
		}
		if stream.Sleep(ctx, pause) != nil {
			return
		}
	}
}

func (s *Store) writeKnown(ctx context.Context, p Pipeline) error {
	k := KnownPipeline{Name: p.Name, Stream: p.Stream, Consumer: p.Consumer, Of: p.Of}
	value, err := json.Marshal(k)
	if err != nil {
		return err
	}
	_, err = s.bucket.Put(ctx, stream.Write{Key: k.key(), Value: value, TTL: knownFor})
	return err
}

// knownOf reads what pipelines there were, which may have processes.
func knownOf(entries []stream.Entry) (all []KnownPipeline) {
	for _, e := range entries {
		var k KnownPipeline
		if !strings.HasPrefix(e.Key, pipeKeys+".") || e.Value == nil || json.Unmarshal(e.Value, &k) != nil || k.Stream == "" || k.Consumer == "" {
			continue
		}
		k.Of, k.Seen = max(min(k.Of, MaxPartitions), 0), e.Time.UTC()
		all = append(all, k)
	}
	return all
}

// Unserved are the pipelines that the registry remembers and no process serves.
func (v *Survey) Unserved() (all []KnownPipeline) {
	for _, k := range v.Known {
		if !k.served(v.Readers) {
			all = append(all, k)
		}
	}
	return all
}

func (k *KnownPipeline) served(readers []Node) bool {
	for i := range readers {
		for j := range readers[i].Pipelines {
			if k.Is(&readers[i].Pipelines[j]) {
				return true
			}
		}
	}
	return false
}
