package drill

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"sync"
	"time"
)

// A Launch makes the command that is a worker of the drill. It ends when its standard input does.
type Launch func(w Worker) *exec.Cmd

// workers are the child processes of a drill.
type workers struct {
	launch Launch
	like   Worker // each is, but for its name
	tag    string // of the drill, in their names
	beside sync.WaitGroup

	mu           sync.Mutex
	records      []Record
	disturbances []Disturbance
	count        int
}

// A child is one of them.
type child struct {
	name   string
	cmd    *exec.Cmd
	stdin  io.Closer
	errors bytes.Buffer  // what it says on standard error: little
	ready  chan struct{} // closed when it pulls
	exited chan struct{}
	frozen time.Time // zero: it is not
}

// start starts a worker.
func (w *workers) start() (*child, error) {
	w.count++
	c := &child{name: fmt.Sprintf("drill-%s-%d", w.tag, w.count), ready: make(chan struct{}), exited: make(chan struct{})}
	worker := w.like
	worker.Name = c.name
	c.cmd = w.launch(worker)
	c.cmd.Stderr = &c.errors
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if c.stdin, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	w.beside.Go(func() {
		w.listen(c, out)
		_ = c.cmd.Wait() // how it ended is what was done to it
		w.note(exited, c.name)
		close(c.exited)
	})
	return c, nil
}

// listen takes down what a worker says until it has ended.
func (w *workers) listen(c *child, out io.Reader) {
	lines := bufio.NewScanner(out)
	for isReady := false; lines.Scan(); {
		var r Record
		if json.Unmarshal(lines.Bytes(), &r) != nil {
			continue // cut off with its worker
		}
		if r.What == ready && !isReady {
			isReady = true
			close(c.ready)
		}
		w.mu.Lock()
		w.records = append(w.records, r)
		w.mu.Unlock()
	}
}

func (w *workers) note(what, worker string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.disturbances = append(w.disturbances, Disturbance{At: time.Now(), What: what, Worker: worker})
}

// kill ends a worker as a crash does, also one that is frozen.
func (w *workers) kill(c *child) {
	w.note(killed, c.name)
	_ = c.cmd.Process.Kill() // it may have ended
	<-c.exited
}

// rest has a worker drain, and ends it if it does not.
func (w *workers) rest(c *child, within time.Duration) {
	_ = c.stdin.Close() // which it heeds as a signal
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case <-c.exited:
	case <-timer.C:
		w.kill(c)
	}
}

// await waits until a worker pulls.
func (c *child) await(ctx context.Context) error {
	select {
	case <-c.ready:
		return nil
	case <-c.exited:
		return fmt.Errorf("worker %s ended before it was ready: %v: %s", c.name, c.cmd.ProcessState, bytes.TrimSpace(c.errors.Bytes()))
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
