package stream

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
)

// Additions are what earlier versions made a stream without. It works without them, but for
// what needs them. The zero value is nothing.
type Additions struct {
	Subjects      []string
	AtomicPublish bool
	DirectReads   bool
}

// AddTo returns a configuration with a, and all that it had.
func (a Additions) AddTo(cfg jetstream.StreamConfig) jetstream.StreamConfig {
	cfg.Subjects = slices.Concat(cfg.Subjects, a.missingSubjects(cfg))
	cfg.AllowAtomicPublish = cfg.AllowAtomicPublish || a.AtomicPublish
	cfg.AllowDirect = cfg.AllowDirect || a.DirectReads
	return cfg
}

func (a Additions) missingSubjects(cfg jetstream.StreamConfig) (missing []string) {
	for _, s := range a.Subjects {
		if !slices.ContainsFunc(cfg.Subjects, func(has string) bool { return covers(has, s) }) {
			missing = append(missing, s)
		}
	}
	return missing
}

// Missing returns an error that says what of a the stream of this configuration lacks, nil if
// it has everything.
func (a Additions) Missing(cfg jetstream.StreamConfig) *LackingError {
	var what, flags []string
	if s := a.missingSubjects(cfg); len(s) > 0 {
		what = append(what, "the subjects "+strings.Join(s, ", "))
		flags = append(flags, "--subjects '"+strings.Join(slices.Concat(cfg.Subjects, s), ",")+"'")
	}
	if a.AtomicPublish && !cfg.AllowAtomicPublish {
		what = append(what, "atomic batches")
		flags = append(flags, "--allow-batch")
	}
	if a.DirectReads && !cfg.AllowDirect {
		what = append(what, "direct reads")
		flags = append(flags, "--allow-direct")
	}
	if len(what) == 0 {
		return nil
	}
	return &LackingError{Stream: cfg.Name, What: what, Command: "nats stream edit " + cfg.Name + " " + strings.Join(flags, " ")}
}

// A LackingError says what a stream lacks that an earlier version made, and how to add it.
type LackingError struct {
	Stream  string
	What    []string
	Command string // adds it
	Err     error  // why it was not added; nil: nobody tried to
}

func (e *LackingError) Error() string {
	return fmt.Sprintf("stream %s was made by an earlier version and lacks %s: add it with %s", e.Stream, strings.Join(e.What, " and "), e.Command)
}

// Unwrap returns why it was not added.
func (e *LackingError) Unwrap() error { return e.Err }

// Complete adds to a stream what it lacks of a, while it is in use, and takes nothing away. It
// returns the stream's configuration, with a [*LackingError] if that is as it was.
func (c *Client) Complete(ctx context.Context, got jetstream.StreamConfig, a Additions) (jetstream.StreamConfig, error) {
	lacking := a.Missing(got)
	if lacking == nil {
		return got, nil
	}
	ctx, cancel := context.WithTimeout(ctx, RequestTimeout)
	defer cancel()
	st, err := c.updateStream(ctx, a.AddTo(got))
	if err != nil {
		lacking.Err = err
		return got, lacking
	}
	cfg := st.CachedInfo().Config
	if lacking := a.Missing(cfg); lacking != nil {
		lacking.Err = &TooOldError{Server: Answering(cfg.Metadata)}
		return cfg, lacking
	}
	return cfg, nil
}
