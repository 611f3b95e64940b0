package broker

import (
	"bufio"
	"errors"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// holdStoreEnv makes the test binary a broker on the store it names, until it is killed.
const holdStoreEnv = "BROKER_TEST_HOLD_STORE"

func TestStoreIsLockedWithinProcess(t *testing.T) {
	store := t.TempDir()
	b := start(t, Config{Store: store})

	_, err := Start(Config{Store: store})
	if !errors.Is(err, ErrStoreLocked) || errors.Is(err, ErrAddressInUse) {
		t.Errorf("second Start = %v, want ErrStoreLocked only", err)
	}
	for _, want := range []string{store, strconv.Itoa(os.Getpid()), "--store"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("second Start = %q, does not say %q", err, want)
		}
	}

	b.Shutdown()
	start(t, Config{Store: store})
}

// Those who cannot have the store do not take each other for its broker.
func TestManyWantAStoreWhoseBrokerDoesNotListen(t *testing.T) {
	store := t.TempDir()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	lock, err := lockStore(store)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = lock.Close() }()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 100 {
				if _, err := Start(Config{Store: store, Port: port}); !errors.Is(err, ErrStoreLocked) || errors.Is(err, ErrAddressInUse) {
					t.Errorf("Start = %v, want ErrStoreLocked only", err)
					return
				}
			}
		})
	}
	all.Wait()
}

func TestStoreIsLockedBetweenProcesses(t *testing.T) {
	store := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	other := exec.CommandContext(t.Context(), self)
	other.Env = append(os.Environ(), holdStoreEnv+"="+store)
	if _, err := other.StdinPipe(); err != nil { // closed when we die, which ends it
		t.Fatal(err)
	}
	out, err := other.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("other process: %q, %v", line, err)
	}

	_, err = Start(Config{Store: store})
	if want := strconv.Itoa(other.Process.Pid); !errors.Is(err, ErrStoreLocked) || !strings.Contains(err.Error(), want) {
		t.Errorf("Start beside another process = %v, want ErrStoreLocked naming process %s", err, want)
	}

	if err := other.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = other.Wait() // it was killed
	start(t, Config{Store: store})
}
