package registry

import (
	"context"
	"slices"
	"strings"

	"github.com/millhand/millhand/internal/job"
)

// A JobSurvey is a survey with what the registry has about one job.
type JobSurvey struct {
	Survey
	Orders []*job.Order // to cancel, that may be about it
}

// SurveyJob is [Store.Survey] with the orders that may be about a job, in the same request.
func (s *Store) SurveyJob(ctx context.Context, p job.Place) (JobSurvey, error) {
	of, many := orderKey(&job.Order{Queue: p.Queue.String(), Type: p.Type.String(), ID: p.ID.String()}),
		strings.Join([]string{cancelKeys, p.Queue.String(), manyToken, "*"}, ".")
	entries, err := s.peek(ctx, append(surveyed(), of, many)...)
	if err != nil {
		return JobSurvey{}, err
	}
	v := JobSurvey{Survey: surveyOf(entries)}
	for _, e := range entries {
		if !strings.HasPrefix(e.Key, cancelKeys+".") || e.Value == nil {
			continue
		}
		if o, err := decodeOrder(e.Key, e.Value, e.Rev); err == nil {
			v.Orders = append(v.Orders, o)
		}
	}
	return v, nil
}

// Whereabouts say which workers have a job.
type Whereabouts struct {
	Running *Running       // as its worker says; of one that is silent, as it wrote last; nil: no handler of it runs
	InHand  []string       // workers that have it in hand, sorted
	Silent  []string       // workers that did not answer in time, sorted
	Free    map[string]int // how many more jobs of the queue each worker could take that told
	Nodes   []Node         // those that were asked, as far as they told as they are now
}

// Locate asks these nodes for a job, with one message.
func (s *Store) Locate(ctx context.Context, nodes []Node, p job.Place) (Whereabouts, error) {
	q := query{Queue: p.Queue.String(), Type: p.Type.String(), ID: p.ID.String()}
	w := Whereabouts{Free: make(map[string]int), Nodes: slices.Clone(nodes)}
	note := func(running []Running, node string) {
		for _, r := range named(running, node) {
			if w.Running == nil || r.Since.After(w.Running.Since) {
				w.Running = &r
			}
		}
	}
	silent, err := s.askEach(ctx, nodes, q, func(a *answer) {
		note(a.Running, a.Node)
		if a.InHand || len(a.Running) > 0 {
			w.InHand = append(w.InHand, a.Node)
		}
		if a.Free != nil {
			w.Free[a.Node] = *a.Free
		}
		if i := slices.IndexFunc(w.Nodes, func(n Node) bool { return n.ID == a.Node }); i >= 0 && a.Presence != nil {
			a.Presence.ID, a.Presence.Seen, a.Presence.Ends = a.Node, w.Nodes[i].Seen, w.Nodes[i].Ends
			w.Nodes[i] = *a.Presence
		}
	})
	if err != nil {
		return Whereabouts{}, err
	}
	for _, n := range silent {
		w.Silent = append(w.Silent, n.ID)
		if w.Running == nil {
			note(q.of(n.Running), n.ID)
		}
	}
	slices.Sort(w.InHand)
	slices.Sort(w.Silent)
	return w, nil
}
