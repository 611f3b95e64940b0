package main

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/millhand/millhand/internal/broker"
)

// A nodeSpec says what a broker of a cluster serves.
type nodeSpec struct {
	Name   string
	Store  string
	Routes []string // to those that were started before
}

type nodeAddress struct{ URL, Route string }

// startNode runs a server as docs/operations.md has it for production.
func startNode(ctx context.Context, spec nodeSpec) (methods, func() error, error) {
	srv, err := server.NewServer(&server.Options{
		ServerName: spec.Name, Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true,
		JetStream: true, StoreDir: spec.Store, SyncAlways: true, MaxPayload: broker.PayloadLimit + broker.HeaderRoom,
		Cluster: server.ClusterOpts{Name: "mill", Host: "127.0.0.1", Port: server.RANDOM_PORT},
		Routes:  server.RoutesFromStr(strings.Join(spec.Routes, ",")),
	})
	if err != nil {
		return nil, nil, err
	}
	srv.Start()
	stop := func() error { srv.Shutdown(); srv.WaitForShutdown(); return nil }
	return methods{
		"address": func(json.RawMessage) (any, error) { return addressOf(ctx, srv) },
		// Only the leader knows any peers.
		"peers": func(json.RawMessage) (any, error) { return len(srv.JetStreamClusterPeers()), nil },
	}, stop, nil
}

// addressOf waits until the server listens, for clients and for routes. It is not ready by
// then: for that, the first node needs peers.
func addressOf(ctx context.Context, srv *server.Server) (nodeAddress, error) {
	for srv.ClusterAddr() == nil || srv.Addr() == nil {
		if err := pause(ctx, pollEvery); err != nil {
			return nodeAddress{}, err
		}
	}
	return nodeAddress{URL: srv.ClientURL(), Route: "nats://" + srv.ClusterAddr().String()}, nil
}
