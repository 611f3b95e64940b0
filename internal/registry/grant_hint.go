package registry

import (
	"encoding/json"
	"log/slog"
	"strings"

	"github.com/millhand/millhand/internal/slots"
)

// A hint tells what a node wrote, to those whom it may concern. It is sent after the write
// and may be lost: then the next refresh brings it.
type hintValue struct {
	Node string `json:"node"`
	Grant
}

func (s *Store) hint(k slots.Key, node string, g Grant) {
	b, err := json.Marshal(hintValue{Node: node, Grant: g})
	if err == nil {
		err = s.nc.Publish(s.control+prefix(k), b)
	}
	if err != nil {
		s.log.Debug("no hint sent", slog.String("pool", k.String()), slog.Any("err", err))
	}
}

// hintSubjects is where hints come from.
func (s *Store) hintSubjects() []string {
	return []string{s.control + grantKeys + ".*", s.control + rateKeys + ".*"}
}

// parseHint reads the subject and body of a hint.
func (s *Store) parseHint(subject string, data []byte) (k slots.Key, h hintValue, ok bool) {
	rest, ok := strings.CutPrefix(subject, s.control)
	if !ok {
		return k, h, false
	}
	k, _, ok = parseGrantKey(rest + "." + limitToken)
	return k, h, ok && json.Unmarshal(data, &h) == nil && h.Node != ""
}
