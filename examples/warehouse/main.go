// Command warehouse takes the orders of another service from its JetStream stream, looks up where each comes from, and
// writes them to a database in batches.
//
//	go run ./examples/warehouse
//
// The database is SQLite, through a driver in pure Go. An order that the database does not take fails alone: it is a dead
// job of the queue "warehouse", where an operator sees it, and can have it run again once somebody has mended what was
// wrong. Orders that come again, since a process died before the stream knew that they are in the database, change nothing.
// Start as many of these as you like: they share the stream.
package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	_ "modernc.org/sqlite"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/broker"
	"github.com/millhand/millhand/pipeline"
	"github.com/millhand/millhand/pipeline/stream"
)

const orders = 2000

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "warehouse:", err)
		os.Exit(1)
	}
}

// run starts a broker, has the other service sell something, and keeps the books.
func run(ctx context.Context, out io.Writer) error {
	dir, err := os.MkdirTemp("", "millhand-warehouse-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }() // temporary anyway
	b, err := broker.Start(broker.Config{Store: dir, Port: -1})
	if err != nil {
		return err
	}
	defer b.Shutdown()
	nc, err := nats.Connect("", nats.InProcessServer(b))
	if err != nil {
		return err
	}
	defer nc.Close()
	db, err := open(ctx, filepath.Join(dir, "warehouse.db"))
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }() // it was read
	if err := sell(ctx, nc); err != nil {
		return err
	}
	c, err := millhand.NewClient(nc, millhand.Config{})
	if err != nil {
		return err
	}
	defer c.Close()
	if err := keep(ctx, nc, c, db); err != nil {
		return err
	}
	return report(ctx, out, c, db)
}

func open(ctx context.Context, path string) (*sql.DB, error) {
	db, err := sql.Open("sqlite", path+"?_pragma=journal_mode(wal)&_pragma=busy_timeout(5000)")
	if err != nil {
		return nil, err
	}
	_, err = db.ExecContext(ctx, `CREATE TABLE orders (id TEXT PRIMARY KEY, customer TEXT, cents INTEGER, country TEXT)`)
	return db, err
}

// An Order is what the other service sells.
type Order struct {
	ID, Customer string
	Cents        int
}

// sell stores orders, of which one is wrong.
func sell(ctx context.Context, nc *nats.Conn) error {
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders.>"}}); err != nil {
		return err
	}
	for i := range orders {
		o := Order{ID: fmt.Sprintf("o-%d", i), Customer: []string{"ann", "bob", "cho"}[i%3], Cents: 100 + i}
		if i == 1234 {
			o.Cents = -1
		}
		body, err := json.Marshal(o)
		if err != nil {
			return err
		}
		if _, err := js.PublishAsync("orders."+o.Customer, body); err != nil {
			return err
		}
	}
	select {
	case <-js.PublishAsyncComplete():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// A Row is an order as the database has it.
type Row struct {
	Order
	Country string
}

// keep writes orders to the database until all are settled.
func keep(ctx context.Context, nc *nats.Conn, c *millhand.Client, db *sql.DB) error {
	rows := pipeline.NewBatcher(pipeline.BatcherConfig[Row]{
		Name: "rows", Size: 500, Wait: 200 * time.Millisecond,
		Handle: func(ctx context.Context, b *pipeline.Batch[Row]) error { return insert(ctx, db, b) },
	})
	source, err := stream.NewSource(nc, stream.SourceConfig{
		Stream: "ORDERS", Durable: "warehouse", Dead: millhand.DeadJobs(c, "warehouse"),
	}, stream.JSON[Order])
	if err != nil {
		return err
	}
	// A service runs until it is told to stop. This one has seen everything after a while.
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var settled atomic.Int64
	p, err := pipeline.New(pipeline.Config[Order]{
		Name: "warehouse", Source: source, Batchers: []pipeline.AnyBatcher{rows}, Concurrency: 32,
		OnFailure: pipeline.Failure{Bisect: true},
		Process: func(_ context.Context, m *pipeline.Message[Order]) error {
			rows.Add(m, Row{m.Value, country(m.Value.Customer)})
			return nil
		},
		Observe: func(e pipeline.Event) {
			if e.What == "settle" && e.Phase == pipeline.Stop && settled.Add(int64(e.Messages)) >= orders {
				stop()
			}
		},
	})
	if err != nil {
		return err
	}
	return p.Run(ctx)
}

// country stands for what another service is asked.
func country(customer string) string {
	return map[string]string{"ann": "NO", "bob": "IE", "cho": "KR"}[customer]
}

// insert is idempotent: an order that comes again changes nothing.
func insert(ctx context.Context, db *sql.DB, b *pipeline.Batch[Row]) (err error) {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return pipeline.All(err) // no half of the batch would do better
	}
	defer func() { err = errors.Join(err, rollback(tx)) }()
	q, err := tx.PrepareContext(ctx, `INSERT INTO orders VALUES (?,?,?,?) ON CONFLICT (id) DO NOTHING`)
	if err != nil {
		return pipeline.All(err)
	}
	defer func() { _ = q.Close() }() // with its transaction
	for i, r := range b.Items {
		if r.Cents < 0 {
			b.Fail(i, millhand.Permanent(fmt.Errorf("order %s: negative amount", r.ID)))
			continue
		}
		if _, err := q.ExecContext(ctx, r.ID, r.Customer, r.Cents, r.Country); err != nil {
			return err
		}
	}
	return tx.Commit()
}

func rollback(tx *sql.Tx) error {
	if err := tx.Rollback(); err != nil && !errors.Is(err, sql.ErrTxDone) {
		return err
	}
	return nil
}

// report prints what the database has, and what is dead.
func report(ctx context.Context, out io.Writer, c *millhand.Client, db *sql.DB) error {
	rows, err := db.QueryContext(ctx, `SELECT country, COUNT(*), SUM(cents) FROM orders GROUP BY country ORDER BY country`)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }() // it was read
	for rows.Next() {
		var country string
		var n, cents int
		if err := rows.Scan(&country, &n, &cents); err != nil {
			return err
		}
		if _, err := fmt.Fprintf(out, "%s: %d orders, %d cents\n", country, n, cents); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	for d, err := range c.Dead(ctx, millhand.DeadFilter{Queue: "warehouse"}) {
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(out, "dead: %s %s: %s\n", d.Type, d.ID, d.LastError()); err != nil {
			return err
		}
	}
	return nil
}
