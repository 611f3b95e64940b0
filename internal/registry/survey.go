package registry

import (
	"context"

	"github.com/millhand/millhand/internal/stream"
)

// A Survey is what the registry has of workers and settings, all of it at one moment.
type Survey struct {
	Nodes       []Node            // sorted by id, without readers
	Readers     []Node            // those, sorted by id
	Usages      []Usage           // sorted by kind and name
	Paused      map[string]Pause  // queues
	PausedTypes map[string]Pause  // types that are paused in a queue, by [LoadOf]
	Keys        map[string]string // whose limits a type shares, by type
	Known       []KnownPipeline   // pipelines that read streams, which may have no process
}

// Survey reads the registry with one request, or a few where it has more than a thousand keys. It
// makes nothing: of a namespace without a registry it is empty. It may lag behind the leader of a
// cluster.
func (s *Store) Survey(ctx context.Context) (Survey, error) {
	entries, err := s.peek(ctx, surveyed()...)
	if err != nil {
		return Survey{}, err
	}
	return surveyOf(entries), nil
}

// surveyed are the keys of a survey.
func surveyed() []string {
	return []string{nodeKeys + ".*", keyKeys + ".*", pauseKeys + ".>", grantKeys + ".>", rateKeys + ".>", pipeKeys + ".*"}
}

func surveyOf(entries []stream.Entry) Survey {
	v := Survey{Usages: usagesOf(entries), Keys: make(map[string]string)}
	for _, n := range nodesOf(entries) {
		if n.Reads() {
			v.Readers = append(v.Readers, n)
		} else {
			v.Nodes = append(v.Nodes, n)
		}
	}
	v.Known = knownOf(entries)
	v.Paused, v.PausedTypes = pausedOf(entries)
	for _, e := range entries {
		if typ, key, ok := parseKey(e); ok {
			v.Keys[typ] = key
		}
	}
	return v
}
