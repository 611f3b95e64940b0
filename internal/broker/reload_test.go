package broker

import (
	"errors"
	"os"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// Who is new in the file of users gets in, and who is gone does not stay. The process itself notices nothing. A
// file with a fault changes nothing.
func TestUsersAreReadAgain(t *testing.T) {
	eve := "eve:viewer:" + hashed(t, "grist") + "\n"
	a, err := users(t, eve)
	if err != nil {
		t.Fatal(err)
	}
	b := start(t, Config{Store: t.TempDir(), Access: a})
	own, err := nats.Connect("", nats.InProcessServer(b), nats.UserInfo(a.Login()))
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	connect := func(name, password string) (*nats.Conn, error) {
		nc, err := nats.Connect(b.ClientURL(), nats.UserInfo(name, password), nats.NoReconnect())
		if err == nil {
			t.Cleanup(nc.Close)
		}
		return nc, err
	}
	was, err := connect("eve", "grist")
	if err != nil {
		t.Fatal(err)
	}
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(a.file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		b.reload()
	}
	write(eve + "ann:boss:x\n")
	if _, err := connect("eve", "grist"); err != nil || !was.IsConnected() {
		t.Errorf("after a fault: %v, connected %t", err, was.IsConnected())
	}
	closed := was.StatusChanged(nats.CLOSED)
	write("ann:viewer:" + hashed(t, "mill") + "\n")
	if _, err := connect("ann", "mill"); err != nil {
		t.Errorf("who is new: %v", err)
	}
	if _, err := connect("eve", "grist"); !errors.Is(err, nats.ErrAuthorization) {
		t.Errorf("who is gone: %v", err)
	}
	select {
	case <-closed:
	case <-time.After(time.Minute):
		t.Error("who is gone is still connected")
	}
	if err := own.Flush(); err != nil || own.Stats().Reconnects > 0 {
		t.Errorf("the process itself: %v, %d reconnects", err, own.Stats().Reconnects)
	}
	if err := os.Remove(a.file); err != nil {
		t.Fatal(err)
	}
	b.reload()
	if _, err := connect("ann", "mill"); err != nil {
		t.Errorf("without a file: %v", err)
	}
}
