package main

import (
	"net/http"
	"os"
	"regexp"
	"testing"
	"time"

	"github.com/millhand/millhand/internal/cli"
)

// A demo that stays serves its dashboard until it is interrupted, which is how it is to end: it says
// nothing, and leaves nothing behind.
func TestDemoStaysUntilItIsInterrupted(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	signals := make(chan os.Signal, 1)
	out, log := &herald{text: "Ctrl-C"}, &logBuffer{}
	served := make(chan int, 1)
	out.call = func() {
		go func() {
			defer func() { signals <- os.Interrupt }()
			url := regexp.MustCompile(`http://[0-9.:]+/`).FindString(out.find("http://"))
			r, err := http.Get(url) //nolint:gosec // it is what the demo has just said
			if err != nil {
				t.Error(err)
				return
			}
			defer r.Body.Close()
			served <- r.StatusCode
		}()
	}
	if got := run([]string{"demo", "--stay"}, signals, out, log); got != cli.ExitOK || log.text.String() != "" {
		t.Errorf("exit code %d, stderr %q; want 0 and nothing", got, log.text.String())
	}
	if got := <-served; got != http.StatusOK {
		t.Errorf("the dashboard answered %d", got)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) > 0 {
		t.Errorf("left behind %v, %v", left, err)
	}
}

// The load is what it says, and so is less than what the workers can do: a queue that grew would fill the disk.
func TestStayLoadIsBounded(t *testing.T) {
	t.Parallel()
	l := newStayLoad(nil)
	const minutes = 10
	count := make(map[string]int)
	for range int(minutes * time.Minute / loadEvery) {
		for _, r := range l.next() {
			count[r.Args.Type()]++
		}
	}
	work := make(map[string]time.Duration) // by queue, that comes in a second
	for _, typ := range stayTypes() {
		want := int(typ.often * 60 * minutes)
		if got := count[typ.name]; got < want-importBurst || got > want {
			t.Errorf("%s: %d jobs in %d minutes, want about %d", typ.name, got, minutes, want)
		}
		work[typ.queue] += time.Duration(typ.often * float64(typ.takes))
	}
	slots := map[string]int{"critical": 16, "default": 16, "media": 4, "low": 4} // that serve it, at least
	for queue, each := range work {
		if each > time.Duration(slots[queue])*time.Second*3/4 {
			t.Errorf("%s: %v of work in a second, for %d slots", queue, each, slots[queue])
		}
	}
}
