package main

import (
	"context"
	"errors"
	"os"
	"os/exec"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand"
)

// What a worker's process is told by its environment.
const (
	brokerEnv = "MILLHAND_IMPORT_BROKER"
	siteEnv   = "MILLHAND_IMPORT_SITE"
)

// A process is a worker that can be killed.
type process struct{ *exec.Cmd }

// startWorker starts this program as a worker.
func startWorker(ctx context.Context, url string, s site) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self)
	cmd.Env = append(os.Environ(), brokerEnv+"="+url, siteEnv+"="+string(s))
	cmd.Stderr = os.Stderr
	return &process{cmd}, cmd.Start()
}

// kill ends a worker as kill -9 does.
func (p *process) kill() error {
	if err := p.Process.Kill(); err != nil {
		return err
	}
	err := p.Wait()
	if _, ended := errors.AsType[*exec.ExitError](err); ended {
		return nil // by the signal
	}
	return err
}

// work is what the process of a worker does. Its lease is short, so that others soon have what a killed one had.
func work(ctx context.Context, url string, s site) error {
	nc, err := nats.Connect(url, millhand.ConnectOptions(nil)...)
	if err != nil {
		return err
	}
	defer nc.Close()
	w, err := millhand.NewWorker(nc, millhand.WorkerConfig{Config: quiet(), Mux: newMux(s), AckWait: lease}) //nolint:contextcheck // it outlives the call
	if err != nil {
		return err
	}
	return w.Run(ctx)
}
