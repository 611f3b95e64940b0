package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/broker"
	"github.com/millhand/millhand/pipeline"
)

const orders = 2000

// The rows that Postgres takes are in the table once, however often their orders come; each of the others is a dead job, and
// has cost no other one anything.
func TestCopyIntoPostgres(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	db, err := pgxpool.New(ctx, startPostgres(t))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(ctx, schema); err != nil {
		t.Fatal(err)
	}
	nc, js := startBroker(t)
	c, err := millhand.NewClient(nc, millhand.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	bad := map[int]Order{ // a constraint, a byte that text cannot have, and a number that does not fit
		123: {ID: "o-123", Customer: "ann", Cents: -1}, 1234: {ID: "o-1234", Customer: "b\x00b", Cents: 1}, 1900: {ID: "o-1900", Customer: "cho", Cents: 1 << 40},
	}
	for round := range 2 {
		for i := range orders {
			o, is := bad[i]
			if !is {
				o = Order{ID: fmt.Sprintf("o-%d", i), Customer: []string{"ann", "bob", "cho"}[i%3], Cents: 100 + round}
			}
			body, err := json.Marshal(o)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := js.PublishAsync("orders.eu", body); err != nil {
				t.Fatal(err)
			}
		}
		<-js.PublishAsyncComplete()
		running, stop := context.WithCancel(ctx)
		var settled atomic.Int64
		err := keep(running, nc, c, db, func(e pipeline.Event) {
			if e.What == "settle" && e.Phase == pipeline.Stop && settled.Add(int64(e.Messages)) >= orders {
				stop()
			}
		})
		stop()
		if err != nil {
			t.Fatal(err)
		}
	}
	var rows, cents int
	if err := db.QueryRow(ctx, `SELECT count(*), sum(cents) FROM orders`).Scan(&rows, &cents); err != nil {
		t.Fatal(err)
	}
	if want := orders - len(bad); rows != want || cents != 100*want {
		t.Errorf("%d rows of %d cents, want %d of %d", rows, cents, want, 100*want)
	}
	dead := 0
	for d, err := range c.Dead(ctx, millhand.DeadFilter{Queue: "warehouse"}) {
		if err != nil {
			t.Fatal(err)
		}
		dead++
		t.Logf("dead: %s %s: %s", d.Type, d.ID, d.LastError())
	}
	if dead != 2*len(bad) {
		t.Errorf("%d are dead, want %d", dead, 2*len(bad))
	}
}

func startBroker(t *testing.T) (*nats.Conn, jetstream.JetStream) {
	t.Helper()
	b, err := broker.Start(broker.Config{Store: t.TempDir(), Port: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Shutdown)
	nc, err := nats.Connect("", nats.InProcessServer(b))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err == nil {
		_, err = js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders.*"}})
	}
	if err != nil {
		t.Fatal(err)
	}
	return nc, js
}

// startPostgres starts a server of a database of its own, and returns how to connect to it.
func startPostgres(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "millhand-postgres-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) }) // temporary anyway
	as := unprivileged(t, dir)
	data := filepath.Join(dir, "data")
	postgres(t, as, "initdb", "-D", data, "-U", "postgres", "--auth", "trust", "--no-sync", "--no-locale", "-E", "UTF8")
	postgres(t, as, "pg_ctl", "-D", data, "-w", "-l", filepath.Join(dir, "log"), "-o", "-c fsync=off -c listen_addresses= -k "+dir, "start")
	t.Cleanup(func() { postgres(t, as, "pg_ctl", "-D", data, "-m", "immediate", "stop") })
	return "host=" + dir + " user=postgres dbname=postgres"
}

// unprivileged returns the user as whom a server runs on dir: it refuses to be root.
func unprivileged(t *testing.T, dir string) *syscall.Credential {
	t.Helper()
	if os.Getuid() != 0 {
		return nil
	}
	nobody, err := user.Lookup("nobody")
	if err != nil {
		t.Fatal(err)
	}
	uid, err := strconv.ParseUint(nobody.Uid, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	gid, err := strconv.ParseUint(nobody.Gid, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(dir, int(uid), int(gid)); err != nil {
		t.Fatal(err)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

// postgres runs a program of Postgres, which Debian does not put into the path.
func postgres(t *testing.T, as *syscall.Credential, name string, args ...string) {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name) // the pattern is good
		if len(found) == 0 {
			t.Fatalf("there is no %s: install Postgres (apt-get install postgresql)", name)
		}
		path = found[len(found)-1]
	}
	cmd := exec.Command(path, args...)
	cmd.Dir = os.TempDir()
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
}
