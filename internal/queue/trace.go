package queue

import (
	"context"

	"github.com/millhand/millhand/internal/job"
)

// A Trace is what there is of a life of a job, as replicas know it: what is missing may be there nevertheless.
type Trace struct {
	There bool   // a message of it
	End   *Event // nil: no event of its end is the last of its id
}

// Traces looks for what there is of many jobs, whose records have their lives, with few reads.
func (s *Store) Traces(ctx context.Context, of []*job.Record) ([]Trace, error) {
	traces := make([]Trace, len(of))
	places := make([]job.Place, len(of))
	at := make(map[string]int, 2*len(of)) // by the subjects that their messages may have
	subjects := make(map[job.Name][]string)
	for i, r := range of {
		p, err := r.Place()
		if err != nil {
			return nil, err
		}
		places[i] = p
		for _, subject := range s.names.alive(p) {
			at[subject] = i
			subjects[p.Queue] = append(subjects[p.Queue], subject)
		}
	}
	for queue, subjects := range subjects {
		for m, err := range s.client.LastOfEach(ctx, s.names.queueStream(queue), subjects) {
			if err != nil {
				return nil, err
			}
			if i := at[m.Subject]; messageOf(places[i], m).Life == of[i].Life {
				traces[i].There = true
			}
		}
	}
	events, err := s.LastEvents(ctx, places)
	if err != nil {
		return nil, err
	}
	for i, r := range of {
		if e := events[places[i]]; e != nil && e.Life == r.Life && e.Kind.Final() {
			traces[i].End = e
		}
	}
	return traces, nil
}
