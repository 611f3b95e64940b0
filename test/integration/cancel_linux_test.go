package integration

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/millhand/millhand"
)

// cancelling is a worker process whose jobs are commands, and the client that cancels them.
func cancelling(t *testing.T, script string) (c *millhand.Client, worker *process, url string) {
	t.Helper()
	b := startBroker(t)
	config := writeFile(t, "worker.yaml", fmt.Sprintf("types:\n  long:\n    exec: [\"sh\", \"-c\", %q]\n", script))
	worker = startWorker(t, b.URL, "-f", config, "--ack-wait", "5s")
	return newClient(t, b.URL), worker, b.URL
}

// mark is the argument of a sleep that is in nobody else's command line.
func mark(n int) string { return fmt.Sprintf("%d.%09d", 300+n, os.Getpid()) }

// A command gets SIGTERM. One that ends well by then has done its work; one that does not is killed
// after the grace, and nothing of it is left.
func TestCancelOfACommand(t *testing.T) {
	t.Parallel()
	for n, tt := range []struct {
		script string
		grace  time.Duration
		state  millhand.State
	}{
		{`trap 'kill $!; exit 0' TERM; sleep %s & wait`, 10 * time.Second, millhand.Succeeded},
		{`trap 'kill $!; exit 3' TERM; sleep %s & wait`, 10 * time.Second, millhand.Cancelled},
		{`trap '' TERM; sleep %s`, time.Second, millhand.Cancelled},
		{`trap '' TERM; sleep %s`, 0, millhand.Cancelled},
	} {
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			t.Parallel()
			c, _, url := cancelling(t, fmt.Sprintf(tt.script, mark(n)))
			ref := enqueue(t, url, "long")[0]
			until(t, "the command runs", func() bool { return commandsWith(t, mark(n)) == 1 })
			done, err := c.Cancel(t.Context(), ref, millhand.WithGrace(tt.grace))
			if err != nil || done.Worker == "" || len(done.Unanswered) > 0 {
				t.Errorf("%+v, %v", done, err)
			}
			info, err := c.Await(t.Context(), ref)
			if info.State != tt.state || tt.state == millhand.Cancelled && !errors.Is(err, millhand.ErrCancelled) {
				t.Errorf("%+v, %v", info, err)
			}
			until(t, "nothing of it is left", func() bool { return commandsWith(t, mark(n)) == 0 })
		})
	}
}

// A worker that is stopped with the job in hand does not answer, and is named. The order holds: when
// the worker goes on, it ends what it runs, and what it says about the job does not count.
func TestCancelOfAFrozenWorker(t *testing.T) {
	t.Parallel()
	c, worker, url := cancelling(t, "sleep "+mark(9))
	ref := enqueue(t, url, "long")[0]
	until(t, "the command runs", func() bool { return commandsWith(t, mark(9)) == 1 })
	worker.freeze(t)
	done, err := c.Cancel(t.Context(), ref)
	if err != nil || done.Worker != "" || len(done.Unanswered) != 1 {
		t.Errorf("%+v, %v", done, err)
	}
	worker.thaw(t)
	until(t, "its command is gone", func() bool { return commandsWith(t, mark(9)) == 0 })
	again := enqueue(t, url, "long")[0]
	until(t, "the worker goes on", func() bool { return commandsWith(t, mark(9)) == 1 })
	if _, err := c.Cancel(t.Context(), again, millhand.WithGrace(0)); err != nil {
		t.Error(err)
	}
	info, err := c.Get(t.Context(), ref)
	if err != nil || info.State != millhand.Cancelled || info.Crashes > 0 {
		t.Errorf("%+v, %v", info, err)
	}
}
