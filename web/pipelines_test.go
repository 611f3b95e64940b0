package web_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/natstest"
	"github.com/millhand/millhand/internal/registry"
	"github.com/millhand/millhand/web"
)

// A pipeline that no process serves is among the workers' pipelines, and a problem that leads there.
func TestPipelineWithoutAProcess(t *testing.T) {
	natstest.Bubble(t, func(t *testing.T, s *natstest.Server) {
		client, err := millhand.NewClient(s.Connect(t), millhand.Config{Logger: natstest.Logger(t.Output())})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.Enqueue(t.Context(), millhand.Raw{Name: "email"}, millhand.WithDelay(time.Hour)); err != nil {
			t.Fatal(err)
		}
		if err := client.Pause(t.Context(), "default"); err != nil { // so that there is a registry
			t.Fatal(err)
		}
		js, err := jetstream.New(s.Connect(t))
		if err != nil {
			t.Fatal(err)
		}
		known, err := json.Marshal(registry.KnownPipeline{Name: "books", Stream: "ORDERS", Consumer: "warehouse"})
		if err == nil {
			_, err = js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders.*"}})
		}
		if err == nil {
			_, err = js.CreateConsumer(t.Context(), "ORDERS", jetstream.ConsumerConfig{Durable: "warehouse"})
		}
		for _, subject := range []string{"orders.eu", "orders.us", "$KV.millhand-registry.pipe.1"} {
			if err == nil {
				_, err = js.Publish(t.Context(), subject, known)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		get := dashboard(t, client, web.Options{})
		has(t, get("/workers", 0), "stream ORDERS", ">no process<", `data-label="Wait">2<`, "last active")
		has(t, get("/", 0), "<code>unserved</code>", `href="/workers?name=books"`, "2 messages wait in stream ORDERS")
	})
}
