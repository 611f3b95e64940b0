package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand"
)

// A testbed is where one contestant does one round: a temporary directory and the processes
// that were started there.
type testbed struct {
	opts      options
	name      string // of the contestant, for files that stay
	dir       string
	started   int // processes
	processes []*process
	conns     []*nats.Conn
}

func newTestbed(o options, name string) (*testbed, error) {
	dir, err := os.MkdirTemp("", "millhand-bench-")
	return &testbed{opts: o, name: name, dir: dir}, err
}

// close ends what still runs, the latest first, and removes all files.
func (s *testbed) close() error {
	var errs []error
	for _, nc := range s.conns {
		nc.Close()
	}
	for _, p := range slices.Backward(s.processes) {
		errs = append(errs, p.stop())
	}
	return errors.Join(append(errs, os.RemoveAll(s.dir))...)
}

func (s *testbed) start(ctx context.Context, role string, spec any) (*process, error) {
	raw, err := json.Marshal(spec)
	if err != nil {
		return nil, err
	}
	c := roleSpec{Role: role, Spec: raw}
	if s.opts.profile != "" {
		name := strings.ReplaceAll(fmt.Sprintf("%s %d %s", s.name, s.started, role), " ", "-")
		c.Profile = filepath.Join(s.opts.profile, name+".pprof")
	}
	s.started++
	p, err := startProcess(ctx, c)
	if err != nil {
		return nil, err
	}
	s.processes = append(s.processes, p)
	return p, nil
}

// end ends one process before the others.
func (s *testbed) end(p *process, how func(*process) error) error {
	s.processes = slices.DeleteFunc(s.processes, func(q *process) bool { return q == p })
	return how(p)
}

func (s *testbed) endAll(processes []*process) error {
	var errs []error
	for _, p := range processes {
		errs = append(errs, s.end(p, (*process).stop))
	}
	return errors.Join(errs...)
}

// broker starts a broker with the settings of one that a worker embeds.
func (s *testbed) broker(ctx context.Context) (p *process, url string, err error) {
	return s.brokerOf(ctx, false)
}

func (s *testbed) brokerOf(ctx context.Context, synced bool) (p *process, url string, err error) {
	if p, err = s.start(ctx, "broker", brokerSpec{Store: filepath.Join(s.dir, "store"), Synced: synced}); err != nil {
		return nil, "", err
	}
	err = p.call("url", nil, &url)
	return p, url, err
}

func (s *testbed) caller(ctx context.Context, spec callerSpec) (*process, error) {
	return s.start(ctx, "caller", spec)
}

func (s *testbed) worker(ctx context.Context, spec workerSpec) (*process, error) {
	return s.start(ctx, "worker", spec)
}

// stream returns a stream that jobs wait in.
func (s *testbed) stream(ctx context.Context, url, name string) (jetstream.Stream, error) {
	nc, err := s.connect(url)
	if err != nil {
		return nil, err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	return js.Stream(ctx, name)
}

func (s *testbed) setQuota(ctx context.Context, url, typ string, limit int) error {
	nc, err := s.connect(url)
	if err != nil {
		return err
	}
	client, err := millhand.NewClient(nc, millhand.Config{Logger: quiet()})
	if err != nil {
		return err
	}
	return client.SetQuota(ctx, millhand.Quota{Type: typ, Limit: limit})
}

// connect returns a connection that is closed with the testbed.
func (s *testbed) connect(url string) (*nats.Conn, error) {
	nc, err := nats.Connect(url)
	if err == nil {
		s.conns = append(s.conns, nc)
	}
	return nc, err
}
