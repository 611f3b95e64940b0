// Command postgres takes the orders of another service from its JetStream stream, looks up where each comes from, and writes
// them to Postgres in batches: with COPY, and none twice. It is examples/warehouse with another database, in a module of its
// own, since the main one has no driver of Postgres.
//
//	go run . --nats nats://127.0.0.1:4222 --postgres postgres://localhost/warehouse
//
// A row that Postgres does not take is found by halving the batch, and is a dead job of the queue "warehouse". Start as many of
// these as you like: they share the stream.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/pipeline"
	"github.com/millhand/millhand/pipeline/stream"
)

// An Order is what the other service sells.
type Order struct {
	ID, Customer string
	Cents        int
}

// A Row is an order as the database has it.
type Row struct {
	Order

	Country string
}

// schema is the table that rows are in.
const schema = `CREATE TABLE IF NOT EXISTS orders (id text PRIMARY KEY, customer text NOT NULL, cents integer NOT NULL CHECK (cents >= 0), country text)`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	broker := flag.String("nats", nats.DefaultURL, "`URL` of the broker, which has a stream ORDERS")
	database := flag.String("postgres", "", "`URL` of the database; empty: as the variables PGHOST and others say")
	flag.Parse()
	if err := run(ctx, *broker, *database); err != nil {
		fmt.Fprintln(os.Stderr, "postgres:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, broker, database string) error {
	nc, err := nats.Connect(broker, millhand.ConnectOptions(nil)...)
	if err != nil {
		return err
	}
	defer nc.Close()
	db, err := pgxpool.New(ctx, database)
	if err != nil {
		return err
	}
	defer db.Close()
	if _, err := db.Exec(ctx, schema); err != nil {
		return err
	}
	c, err := millhand.NewClient(nc, millhand.Config{})
	if err != nil {
		return err
	}
	defer c.Close()
	return keep(ctx, nc, c, db, nil)
}

// keep writes orders to the database until ctx ends, and what is in hand then.
func keep(ctx context.Context, nc *nats.Conn, c *millhand.Client, db *pgxpool.Pool, observe func(pipeline.Event)) error {
	rows := pipeline.NewBatcher(pipeline.BatcherConfig[Row]{
		Name: "rows", Size: 500, Wait: 200 * time.Millisecond, Concurrency: 2, Handle: copyIn(db),
	})
	orders, err := stream.NewSource(nc, stream.SourceConfig{
		Stream: "ORDERS", Durable: "warehouse", Dead: millhand.DeadJobs(c, "warehouse"),
	}, stream.JSON[Order])
	if err != nil {
		return err
	}
	p, err := pipeline.New(pipeline.Config[Order]{
		Name: "warehouse", Source: orders, Batchers: []pipeline.AnyBatcher{rows}, Concurrency: 32,
		OnFailure: pipeline.Failure{Bisect: true}, Observe: observe,
		Process: func(_ context.Context, m *pipeline.Message[Order]) error {
			rows.Add(m, Row{m.Value, country(m.Value.Customer)})
			return nil
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

// copyIn is idempotent: an order that comes again changes nothing.
func copyIn(db *pgxpool.Pool) func(context.Context, *pipeline.Batch[Row]) error {
	columns := []string{"id", "customer", "cents", "country"}
	return func(ctx context.Context, b *pipeline.Batch[Row]) error {
		return pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, `CREATE TEMP TABLE incoming (LIKE orders) ON COMMIT DROP`); err != nil {
				return pipeline.All(err)
			}
			rows := pgx.CopyFromSlice(len(b.Items), func(i int) ([]any, error) {
				r := b.Items[i]
				return []any{r.ID, r.Customer, r.Cents, r.Country}, nil
			})
			if _, err := tx.CopyFrom(ctx, pgx.Identifier{"incoming"}, columns, rows); err != nil {
				return blame(tx, err)
			}
			_, err := tx.Exec(ctx, `INSERT INTO orders SELECT * FROM incoming ON CONFLICT (id) DO NOTHING`)
			return blame(tx, err)
		})
	}
}

// blame says whose fault an error is. A row's that Postgres does not take, or that cannot even be sent to it: halves of the batch
// find the row, which no further attempt would save. Or nobody's own, such as a connection that is lost: all of them come again.
func blame(tx pgx.Tx, err error) error {
	if err == nil || tx.Conn().IsClosed() {
		return pipeline.All(err)
	}
	pg, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return pipeline.All(err)
	}
	class := pg.Code[:min(len(pg.Code), 2)]
	unsent := pg.Code == "57014" && strings.HasPrefix(pg.Message, "COPY from stdin failed") // the driver could not encode a value
	if class == "22" || class == "23" || unsent {                                           // data, or a constraint
		return millhand.Permanent(err)
	}
	return pipeline.All(err)
}
