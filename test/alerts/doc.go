// Package alerts tests that the alerts of docs/alerts and the board of docs/grafana are about metrics that
// workers serve, and that each alert fires when it is to, by Prometheus' own parser and engine. It is a
// module of its own, so that nobody who uses Millhand has Prometheus among the dependencies.
package alerts
