package queue

import (
	"context"
	"log/slog"
)

// modestPayload is what a server should have room for. With its defaults it has 960 KiB.
const modestPayload = 256 << 10

// TellPayload warns of a server whose max_payload leaves no room for jobs, or little.
func (s *Store) TellPayload(ctx context.Context) {
	limit := s.nc.MaxPayload()
	if limit == 0 { // not connected
		return
	}
	room := limit - maxHeaderOverhead
	attrs := []any{slog.Int64("max_payload", limit), slog.Int64("kept_for_headers", maxHeaderOverhead), slog.Int64("room", max(room, 0))}
	switch {
	case room <= 0:
		s.log.WarnContext(ctx, "the server's max_payload leaves no room for any job's payload: set max_payload in its configuration to 1MB or more", attrs...)
	case room < modestPayload:
		s.log.WarnContext(ctx, "the server's max_payload leaves little room for payloads and results: larger jobs are refused, larger results are dead jobs; set it to 1MB or more", attrs...)
	}
}
