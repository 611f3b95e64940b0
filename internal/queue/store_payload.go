package queue

import (
	"context"
	"log/slog"
)

// modestPayload is what a server should have room for. With its defaults it has 960 KiB.
const modestPayload = 256 << 10

// WarnPayload warns of a server whose max_payload leaves little room for jobs.
func (s *Store) WarnPayload(ctx context.Context) {
	limit := s.nc.MaxPayload()
	if limit == 0 { // not connected
		return
	}
	room := int64(s.payloadLimit())
	attrs := []any{slog.Int64("max_payload", limit), slog.Int64("room", room)}
	if room < modestPayload {
		s.log.WarnContext(ctx, "the server's max_payload leaves little room for payloads and results: larger jobs are refused, larger results are dead jobs; set it to 1MB or more", attrs...)
	}
}
