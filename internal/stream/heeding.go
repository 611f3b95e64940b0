package stream

import (
	"context"

	"github.com/nats-io/nats.go/jetstream"
)

// What is asked of [jetstream.JetStream] goes by here, so that a request that is not allowed ends at once.

func (c *Client) findStream(ctx context.Context, name string) (jetstream.Stream, error) {
	return heeding(ctx, c, func(ctx context.Context) (jetstream.Stream, error) { return c.js.Stream(ctx, name) }, "STREAM.INFO."+name)
}

func (c *Client) createStream(ctx context.Context, cfg jetstream.StreamConfig) (jetstream.Stream, error) {
	return heeding(ctx, c, func(ctx context.Context) (jetstream.Stream, error) { return c.js.CreateStream(ctx, cfg) }, "STREAM.CREATE."+cfg.Name)
}

func (c *Client) updateStream(ctx context.Context, cfg jetstream.StreamConfig) (jetstream.Stream, error) {
	return heeding(ctx, c, func(ctx context.Context) (jetstream.Stream, error) { return c.js.UpdateStream(ctx, cfg) }, "STREAM.UPDATE."+cfg.Name)
}

// Consumer returns a consumer of a stream.
func (c *Client) Consumer(ctx context.Context, stream, name string) (jetstream.Consumer, error) {
	return heeding(ctx, c, func(ctx context.Context) (jetstream.Consumer, error) { return c.js.Consumer(ctx, stream, name) }, "CONSUMER.INFO."+stream+"."+name)
}

// CreateConsumer makes a consumer of a stream.
func (c *Client) CreateConsumer(ctx context.Context, stream string, cfg jetstream.ConsumerConfig) (jetstream.Consumer, error) {
	return heeding(ctx, c, func(ctx context.Context) (jetstream.Consumer, error) { return c.js.CreateConsumer(ctx, stream, cfg) },
		"CONSUMER.CREATE."+stream+".>", "CONSUMER.DURABLE.CREATE."+stream+".>")
}

// OrderedConsumer makes an ordered consumer of a stream.
func (c *Client) OrderedConsumer(ctx context.Context, stream string, cfg jetstream.OrderedConsumerConfig) (jetstream.Consumer, error) {
	return heeding(ctx, c, func(ctx context.Context) (jetstream.Consumer, error) { return c.js.OrderedConsumer(ctx, stream, cfg) },
		"CONSUMER.CREATE."+stream+".>")
}

// heeding calls do, which makes one of these requests of the API.
func heeding[T any](ctx context.Context, c *Client, do func(context.Context) (T, error), requests ...string) (T, error) {
	for i, r := range requests {
		requests[i] = c.API(r)
	}
	ctx, done := c.Heed(ctx, requests...)
	defer done()
	found, err := do(ctx)
	return found, Denial(ctx, err)
}
