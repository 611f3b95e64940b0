package main

import (
	"context"
	"slices"

	"github.com/spf13/cobra"

	"github.com/millhand/millhand/internal/cli"
	"github.com/millhand/millhand/internal/filter"
	"github.com/millhand/millhand/internal/job"
)

// A picker is what says which jobs a command is about: terms as arguments, --filter, and flags for the
// common terms.
type picker struct {
	filters []string
	flags   map[filter.Key]*string
}

// register adds the flags, those of terms for the keys alone.
func (p *picker) register(a *app, cmd *cobra.Command, keys ...filter.Key) {
	fs := cmd.Flags()
	fs.StringArrayVar(&p.filters, "filter", nil, "`FILTER`, as the arguments are; for terms that begin with -")
	p.flags = make(map[filter.Key]*string)
	for _, k := range keys {
		short, usage := "", "the same as the term "+string(k)+":`VALUE`"
		switch k { //nolint:exhaustive // the others have no short form
		case filter.Queue:
			short = "q"
		case filter.Type:
			short = "t"
		}
		p.flags[k] = fs.StringP(string(k), short, "", usage)
	}
	_ = cmd.RegisterFlagCompletionFunc(string(filter.Queue), a.candidates(queueNames)) // an error says that there is no such flag
	_ = cmd.RegisterFlagCompletionFunc(string(filter.Type), a.candidates(typeNames))   // likewise
}

// filter returns what is meant by all that was given.
func (p *picker) filter(args []string) (filter.Filter, error) {
	all := slices.Concat(args, p.filters)
	for _, k := range filter.Keys() {
		if v := p.flags[k]; v != nil && *v != "" && k != filter.Error {
			all = append(all, string(k)+":"+*v)
		}
	}
	f, err := filter.ParseArgs(all)
	if v := p.flags[filter.Error]; v != nil && *v != "" {
		f = f.With(filter.Term{Key: filter.Error, Values: []filter.Value{{Text: *v}}})
	}
	if err != nil {
		return f, cli.Usagef("%w", err)
	}
	return f, checkNames(f)
}

// checkNames refuses names that no queue, type or job can have: nothing would match.
func checkNames(f filter.Filter) error {
	for k, check := range map[filter.Key]func(string) error{filter.Queue: job.CheckQueue, filter.Type: job.CheckType, filter.ID: job.CheckID} {
		names, _ := f.Names(k)
		for _, name := range names {
			if err := check(name); err != nil {
				return cli.Usagef("%w", err)
			}
		}
	}
	return nil
}

// refuseKeys returns an error if the filter is about what a command cannot see.
func refuseKeys(f filter.Filter, why string, keys ...filter.Key) error {
	for _, k := range keys {
		if f.Has(k) {
			name := string(k) + ":"
			if k == filter.Word {
				name = "a word by itself"
			}
			return cli.Usagef("%s: %s", name, why)
		}
	}
	return nil
}

// termNames complete a term of a filter.
func termNames(ctx context.Context, s *session) []string {
	var terms []string
	for _, state := range []job.State{job.Scheduled, job.Ready, job.Running, job.Retrying, job.Succeeded, job.Dead, job.Cancelled} {
		terms = append(terms, "state:"+string(state))
	}
	for _, q := range queueNames(ctx, s) {
		terms = append(terms, "queue:"+q)
	}
	for _, t := range typeNames(ctx, s) {
		terms = append(terms, "type:"+t)
	}
	return terms
}
