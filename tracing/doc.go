// Package tracing is middleware that traces what is enqueued and what runs, over the API of
// OpenTelemetry. It has no SDK: a program that wants traces sets up a provider and hands it over.
//
//	mux.Use(tracing.Runs(tracing.Options{Provider: otel.GetTracerProvider()}))
//	client.Use(tracing.Enqueues(tracing.Options{Provider: otel.GetTracerProvider()}))
//	pipeline.Config[Order]{Use: []pipeline.Middleware{tracing.Pipelines(tracing.Options{Provider: otel.GetTracerProvider()})}, …}
//
// A run has a trace of its own, since a job may wait for days and run many times. Links lead from it
// to the enqueue, to the run before and, of a step of a workflow, to the runs of those that it comes
// after. The trace's id stands in the event of the run.
package tracing
