package millhand

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand/internal/job"
)

const (
	reconnectWait   = 500 * time.Millisecond // between two rounds through the servers
	reconnectJitter = 500 * time.Millisecond // so that a thousand workers do not come at once

	// A worker must notice a dead connection well within its 30 s lease, to renew it over
	// a new one: after at most 3 × 2 s, as the embedded broker does on its side.
	pingInterval = 2 * time.Second
	maxPingsOut  = 2
)

// ConnectOptions returns the options of a connection that a worker can trust, for
// [nats.Connect]; a program adds where and who to them:
//
//	nc, err := nats.Connect(url, append(millhand.ConnectOptions(nil), nats.UserCredentials(file))...)
//
// The connection outlives any outage: it reconnects for ever, even after the servers refused
// its credentials, and notices within 6 s that a server is gone. While it is disconnected it
// buffers nothing, since an acknowledgement that is sent after the lease was lost would be a
// lie. It logs to log what happens to it, to [slog.Default] if log is nil. Clients may use
// it, too: while it is disconnected, their enqueues fail at once.
func ConnectOptions(log *slog.Logger) []nats.Option {
	log = Config{Logger: log}.logger()
	return []nats.Option{
		nats.Name("millhand"),
		nats.MaxReconnects(-1),
		nats.IgnoreAuthErrorAbort(), // an auth service can be down for a while, too
		nats.ReconnectBufSize(-1),
		nats.ReconnectWait(reconnectWait),
		nats.ReconnectJitter(reconnectJitter, reconnectJitter),
		nats.PingInterval(pingInterval),
		nats.MaxPingsOutstanding(maxPingsOut),
		nats.DisconnectErrHandler(func(nc *nats.Conn, err error) {
			if !nc.IsClosed() {
				log.Warn("server lost, reconnecting", slog.Any("err", err))
			}
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) {
			log.Info("server found again", slog.String("address", nc.ConnectedAddr())) // not its URL, which may hold a token
		}),
		nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) {
			log := log
			if sub != nil {
				log = log.With(slog.String("subject", sub.Subject))
			}
			log.Warn("server reports an error", slog.Any("err", err))
		}),
	}
}

// checkConnection returns an [*InvalidError] for a connection that a worker must not have.
func checkConnection(nc *nats.Conn) error {
	const instead = ", or connect with millhand.ConnectOptions, which has it"
	if nc == nil {
		return noConnection()
	}
	var rule string
	switch o := nc.Opts; {
	case !o.AllowReconnect:
		rule = "does not reconnect, so an outage would end the worker: leave nats.NoReconnect out and add nats.MaxReconnects(-1)"
	case o.MaxReconnect >= 0:
		rule = fmt.Sprintf("gives up after %d attempts to reconnect, so an outage would end the worker: add nats.MaxReconnects(-1)", o.MaxReconnect)
	case o.ReconnectBufSize >= 0:
		rule = fmt.Sprintf("buffers %d bytes while it is disconnected, so it would send acknowledgements of jobs whose leases are lost: "+
			"add nats.ReconnectBufSize(-1)", o.ReconnectBufSize)
	default:
		return nil
	}
	return &InvalidError{What: "the connection", Rule: rule + instead}
}

// noConnection says that there is nothing to work over.
func noConnection() error {
	return publicError(&job.InvalidError{What: "the connection", Rule: "must not be nil"})
}
