package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"
)

// A process is this binary in another role. It ends when its standard input does, so also
// with whoever started it.
type process struct {
	role    string
	cmd     *exec.Cmd
	stdin   io.WriteCloser
	calls   *json.Encoder
	answers *json.Decoder
}

// A roleSpec says what role a process plays.
type roleSpec struct {
	Role    string
	Spec    json.RawMessage // of that role
	Profile string          // file for a CPU profile; empty: none
}

const (
	roleEnv   = "MILLHAND_BENCH_ROLE" // holds a roleSpec
	stopGrace = 30 * time.Second      // for a process to end by itself
)

func startProcess(ctx context.Context, c roleSpec) (*process, error) {
	text, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &process{role: c.Role, cmd: exec.CommandContext(ctx, self)}
	p.cmd.Env = append(os.Environ(), roleEnv+"="+string(text))
	p.cmd.Stderr = os.Stderr
	p.cmd.WaitDelay = stopGrace
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.calls, p.answers = json.NewEncoder(p.stdin), json.NewDecoder(stdout)
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", c.Role, err)
	}
	return p, nil
}

// call has the process run a method and waits for its answer. args and result may be nil.
func (p *process) call(method string, args, result any) error {
	raw, err := json.Marshal(args)
	if err != nil {
		return err
	}
	var a answer
	if err := p.calls.Encode(call{Method: method, Args: raw}); err != nil {
		return fmt.Errorf("%s: %s: %w", p.role, method, err)
	}
	if err := p.answers.Decode(&a); err != nil {
		return fmt.Errorf("%s: %s: no answer: %w", p.role, method, err)
	}
	if a.Error != "" {
		return fmt.Errorf("%s: %s: %s", p.role, method, a.Error)
	}
	if result == nil {
		return nil
	}
	return json.Unmarshal(a.Result, result)
}

// usage asks the process what it used so far. With collect it runs the garbage collector
// before it looks at its memory.
func (p *process) usage(collect bool) (usage, error) {
	var u usage
	return u, p.call("usage", collect, &u)
}

// stop ends the process in order.
func (p *process) stop() error {
	_ = p.stdin.Close() // if it is closed already, the process has ended
	timer := time.AfterFunc(stopGrace, func() { _ = p.cmd.Process.Kill() })
	defer timer.Stop()
	if err := p.cmd.Wait(); err != nil {
		return fmt.Errorf("%s: %w", p.role, err)
	}
	return nil
}

// kill ends the process with SIGKILL.
func (p *process) kill() error {
	if err := p.cmd.Process.Kill(); err != nil {
		return err
	}
	if err := p.cmd.Wait(); err != nil {
		if _, ok := errors.AsType[*exec.ExitError](err); !ok {
			return err
		}
	}
	return nil
}
