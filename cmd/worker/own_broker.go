package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/broker"
	"github.com/millhand/millhand/internal/cli"
)

// connectOwn connects to the broker of this process, or to that of another worker on this host.
func (p *process) connectOwn(ctx context.Context) (*nats.Conn, error) {
	if b := p.broker.Load(); b != nil {
		opts := append(millhand.ConnectOptions(p.log), nats.InProcessServer(b))
		if user, password := p.access.Login(); user != "" {
			opts = append(opts, nats.UserInfo(user, password))
		}
		return nats.Connect("", opts...)
	}
	nc, err := p.connectShared(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w; what listens there cannot be used as it is: %w", p.shared, err)
	}
	p.log.InfoContext(ctx, "a NATS server listens here already: using it", slog.String("url", cli.Redact(nc.ConnectedUrl())))
	return nc, nil
}

// connectShared connects to the broker that there is on this host. If another worker has the store, but
// was only about to listen when it was found, it has a while for that.
func (p *process) connectShared(ctx context.Context) (*nats.Conn, error) {
	tick := time.NewTicker(sharePause)
	defer tick.Stop()
	for end := time.Now().Add(shareWithin); ; {
		nc, err := cli.Target{URL: "nats://" + withHost(p.listen)}.Connect(ctx, millhand.ConnectOptions(p.log)...)
		if err == nil || !errors.Is(p.shared, broker.ErrStoreLocked) || time.Now().After(end) {
			return nc, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-tick.C:
		}
	}
}

// How long a worker waits for one that has the default store and does not listen yet, or not
// any more, and how often it tries.
const (
	shareWithin = 10 * time.Second
	sharePause  = 100 * time.Millisecond
)

// shareBroker starts a broker, or returns an error that is [broker.ErrAddressInUse] if there
// is one to be used. Of workers that are started together, one has the store some time before
// it listens; and one that stops has it some time after.
func (p *process) shareBroker(ctx context.Context) (*broker.Broker, error) {
	tick := time.NewTicker(sharePause)
	defer tick.Stop()
	for end := time.Now().Add(shareWithin); ; {
		b, err := p.startBroker()
		if p.store != "" || !errors.Is(err, broker.ErrStoreLocked) || errors.Is(err, broker.ErrAddressInUse) || time.Now().After(end) {
			return b, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-tick.C:
		}
	}
}

func (p *process) startBroker() (*broker.Broker, error) {
	host, port, err := splitAddress(p.listen)
	if err != nil {
		return nil, cli.Usagef("--listen: %w", err)
	}
	store := p.store
	if store == "" {
		if store, err = broker.DefaultStore(); err != nil {
			return nil, err
		}
	}
	b, err := broker.Start(broker.Config{Store: store, Host: host, Port: port, Logger: p.log, Access: p.access})
	if err == nil {
		p.checkMemory(debug.SetMemoryLimit(-1))
	}
	return b, err
}

// brokerMemory is what a worker needs that brings its broker, bytes. The broker keeps what was
// written in the last seconds in memory. In containers of 96 to 512 MiB, 1,000 jobs of 0.9 MB, 100 at
// once, ended the process below 384 MiB, of which Go may use nine tenths.
const brokerMemory = 340 << 20

// checkMemory warns of a memory limit, in bytes, that large jobs may reach.
func (p *process) checkMemory(limit int64) {
	if limit < brokerMemory {
		p.log.Warn("little memory for a worker with its own broker: many large jobs may end the process; "+
			"give the container 384 MiB, or run a NATS server apart and name it with --server", slog.Int64("memory_limit_mib", limit>>20))
	}
}
