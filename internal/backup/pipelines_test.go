package backup_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand/internal/backup"
	"github.com/millhand/millhand/internal/natstest"
	"github.com/millhand/millhand/pipeline"
	"github.com/millhand/millhand/pipeline/stream"
)

// A pipeline in order goes on in a stream of somebody else from where it was at the backup. What it has handled
// since is handled again.
func TestPipelinesGoOnAfterARestore(t *testing.T) {
	inScene(t, func(m *mill) {
		m.enqueue("quick", "one") // a namespace without queues is none
		js, err := jetstream.New(m.server.Connect(m.t))
		if err != nil {
			m.t.Fatal(err)
		}
		cfg, err := stream.Partitioned(jetstream.StreamConfig{Name: "CHANGES", Subjects: []string{"changes.*"}}, 1, 1)
		if err != nil {
			m.t.Fatal(err)
		}
		if _, err := js.CreateStream(m.t.Context(), cfg); err != nil {
			m.t.Fatal(err)
		}
		publish := func(n int) {
			for range n {
				if _, err := js.Publish(m.t.Context(), "changes.ann", []byte(`{}`)); err != nil {
					m.t.Fatal(err)
				}
			}
		}
		publish(3)
		if got, want := m.follow(), []string{"CHANGES/1", "CHANGES/2", "CHANGES/3"}; !slices.Equal(got, want) {
			m.t.Fatalf("handled %v, want %v", got, want)
		}
		file, made := m.take(backup.Options{})
		if made.Streams[0].Kind != backup.Pipelines || made.Streams[0].Messages == 0 {
			m.t.Errorf("the first stream is %+v, want how far pipelines are before what they have enqueued", made.Streams[0])
		}
		publish(1)
		m.follow()
		m.lose()
		time.Sleep(11 * time.Second)
		m.restore(file, backup.RestoreOptions{})
		publish(1)
		if got, want := m.follow(), []string{"CHANGES/4", "CHANGES/5"}; !slices.Equal(got, want) {
			m.t.Errorf("handled %v after the restore, want %v", got, want)
		}
	})
}

// follow runs a pipeline for a while, and returns what it handled.
func (m *mill) follow() (handled []string) {
	m.t.Helper()
	log := natstest.Logger(m.t.Output())
	changes, err := stream.NewOrdered(m.server.Connect(m.t), stream.OrderedConfig{
		Stream: "CHANGES", Group: "crm", Partitions: 1, Subject: "changes.{partition}.*", Dead: stream.Drop, Logger: log,
	}, func(msg stream.Message) (string, error) { return string(msg.Data), nil })
	if err != nil {
		m.t.Fatal(err)
	}
	p, err := pipeline.New(pipeline.Config[string]{
		Name: "crm", Source: changes, Concurrency: 1, Logger: log,
		Process: func(_ context.Context, msg *pipeline.Message[string]) error {
			handled = append(handled, msg.ID())
			return nil
		},
	})
	if err != nil {
		m.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(m.t.Context(), time.Minute)
	defer cancel()
	if err := p.Run(ctx); err != nil {
		m.t.Fatal(fmt.Errorf("pipeline: %w", err))
	}
	return handled
}
