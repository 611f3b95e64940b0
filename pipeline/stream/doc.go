// Package stream is what flows and pipelines have of JetStream. The streams may be anybody's.
//
// [NewSource] is a source for a pipeline on any number of processes, which share what comes:
//
//	orders, err := stream.NewSource(nc, stream.SourceConfig{
//		Stream: "ORDERS", Durable: "warehouse", Dead: millhand.DeadJobs(client, "warehouse"),
//	}, stream.JSON[Order])
//
// [NewOrdered] is one for what has to be handled in order: processes share out the partitions of a stream.
// [Publish] is what a batcher handles its batches with that are to be in a stream.
//
// [Read] is the past of a stream as a sequence:
//
//	clicks := stream.Read(ctx, nc, stream.ReadConfig{Stream: "CLICKS"}, stream.JSON[Click])
//	perPage := flow.CountBy(flow.By(flow.FromErr(clicks), page))
//
// It changes nothing in the stream and leaves nothing at the broker.
package stream
