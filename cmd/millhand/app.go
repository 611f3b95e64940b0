package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/arrival"
	"github.com/millhand/millhand/internal/audit"
	"github.com/millhand/millhand/internal/bulk"
	"github.com/millhand/millhand/internal/cli"
	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/problem"
	"github.com/millhand/millhand/internal/queue"
	"github.com/millhand/millhand/internal/registry"
	"github.com/millhand/millhand/internal/stats"
	"github.com/millhand/millhand/internal/stream"
	"github.com/millhand/millhand/internal/view"
)

// An app is what the flags say that all commands have.
type app struct {
	streams
	conn cli.ConnFlags

	output   format
	color    colorMode
	utc      bool
	absolute bool
	wide     bool
	debug    bool
	show     bool
}

// register adds the flags to root, in the order of the help.
func (a *app) register(root *cobra.Command) {
	fs := root.PersistentFlags()
	fs.SortFlags = false
	root.Flags().SortFlags = false
	fs.VarP(&a.output, "output", "o", "print `text`, json (one object), ndjson (an object a line) or name (names for a pipe)")
	fs.BoolVar(&a.absolute, "absolute", false, "print times, not how long ago they are")
	fs.BoolVar(&a.utc, "utc", false, "print times in UTC, not in the local zone")
	fs.BoolVar(&a.wide, "wide", false, "print tables as wide as they are, not as wide as the terminal")
	fs.Var(&a.color, "color", "`auto`, always or never; auto is on a terminal, unless NO_COLOR is set")
	fs.BoolVar(&a.debug, "debug", false, "print each request to the broker on standard error: how long it took, its subject, and sizes")
	fs.BoolVar(&a.show, "show-request", false, "print each request to the broker on standard error, as a call of nats; it is sent all the same")
	a.conn.Register(fs)
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"text", "json", "ndjson", "name"}, cobra.ShellCompDirectiveNoFileComp)) // the flag is there
	_ = root.RegisterFlagCompletionFunc("color", cobra.FixedCompletions([]string{"auto", "always", "never"}, cobra.ShellCompDirectiveNoFileComp))         // the flag is there
}

func isOutputFlag(name string) bool {
	return slices.Contains([]string{"output", "absolute", "utc", "wide", "color", "debug", "show-request"}, name)
}

// check refuses what a command cannot print.
func (a *app) check(formats []format) error {
	if len(formats) == 0 {
		formats = []format{formatText, formatJSON}
	}
	if slices.Contains(formats, a.output) {
		return nil
	}
	var names []string
	for _, f := range formats {
		names = append(names, string(f))
	}
	return cli.Usagef("-o %s: this command prints %s", a.output, strings.Join(names, ", "))
}

// A session is an app that is connected to a broker.
type session struct {
	*app
	target cli.Target
	nc     *nats.Conn
	js     *stream.Client
	client *millhand.Client
	view   *view.View
	by     string    // who acts, as others see it
	now    time.Time // to which what is printed is relative

	problems *problem.Looker
	store    *queue.Store
	registry *registry.Store
	audit    *audit.Log

	pace *atomic.Pointer[bulk.Pace] // is told how long each write took, if there is one
}

// connect connects to the broker that the flags name.
func (a *app) connect(ctx context.Context) (*session, error) {
	if err := checkBy(os.Getenv(byVariable)); err != nil {
		return nil, err
	}
	target, err := a.conn.Target()
	if err != nil {
		return nil, err
	}
	if a.debug {
		target.Trace = a.err
	}
	if a.show {
		target.Show = a.err
	}
	s := &session{app: a, target: target, pace: &atomic.Pointer[bulk.Pace]{}}
	nc, err := target.Connect(ctx, nats.MaxReconnects(-1), nats.ReconnectBufSize(-1), s.nameConnection)
	if err != nil {
		return nil, err
	}
	if err := s.use(nc); err != nil {
		nc.Close()
		return nil, asUsage(err)
	}
	return s, nil
}

// use makes all that works over a connection.
func (s *session) use(nc *nats.Conn) (err error) {
	a := s.app
	s.nc = nc
	log := slog.New(slog.DiscardHandler)
	s.client, err = millhand.NewClient(s.nc, millhand.Config{
		Namespace: a.conn.Namespace, Domain: s.target.Domain, MaxBytes: int64(a.conn.MaxBytes), Logger: log,
	})
	if err == nil {
		s.js, err = stream.New(s.nc, stream.Config{
			Namespace: a.conn.Namespace, Domain: s.target.Domain, MaxBytes: int64(a.conn.MaxBytes), Logger: log, Wrote: s.noteWrite,
		})
	}
	if err != nil {
		return err
	}
	s.registry = registry.NewStore(s.js, log)
	s.store = queue.NewStore(s.js, queue.Config{Registry: s.registry.Bucket(), Logger: log})
	arrival.New(s.js, s.store, s.registry, log) // whoever ends a step counts it
	s.view = view.New(view.Config{Client: s.js, Registry: s.registry, Store: s.store, Starts: s.starts})
	s.problems = problem.NewLooker(s.js, s.view, stats.NewStore(s.js, log), nil)
	s.audit = audit.New(s.js)
	s.now = time.Now()
	return nil
}

func (s *session) noteWrite(_ string, took time.Duration) {
	if p := s.pace.Load(); p != nil {
		p.Wrote(took)
	}
}

func (s *session) close() {
	s.js.Close()
	s.nc.Close()
}

// asUsage marks an error of the caller's input as such.
func asUsage(err error) error {
	_, ofInsides := errors.AsType[*job.InvalidError](err)
	if ofInsides || errors.Is(err, millhand.ErrInvalid) {
		return cli.Usagef("%w", err)
	}
	return err
}
