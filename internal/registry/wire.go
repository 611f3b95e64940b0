package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// requestTimeout is how long one request waits for its answer.
const requestTimeout = time.Second

// Codes of the broker that this package decides on (nats-server: errors.json).
const (
	codeWrongLastSeq     = 10071 // definite
	codeWrongLastSeqBusy = 10164 // another write is in flight
	codeNoMessage        = 10037
	codeStreamNotFound   = 10059
)

var (
	// errConflict says that a conditional write was refused: something was written meanwhile.
	errConflict = errors.New("written meanwhile")
	// errNotFound says that there is no such key.
	errNotFound = errors.New("no such key")
	// errStopped ends a watch whose caller has enough.
	errStopped = errors.New("stopped")
)

// An entry is what the bucket has of a key.
type entry struct {
	Key   string
	Value []byte // nil: removed or expired, which stays visible for a while
	Rev   uint64 // the stream's sequence
	Time  time.Time
	TTL   time.Duration // zero: kept for ever
	Aged  bool          // it expired
}

// A write is a value for a key, on conditions.
type write struct {
	key    string
	value  []byte
	remove bool
	ttl    time.Duration // whole seconds; zero: kept for ever

	// If on is set, the newest write to it, wildcards allowed, has this revision; 0 for none.
	on  string
	rev uint64
}

// put writes and returns the revision. It returns [errConflict] if the condition does not
// hold. With any other error it may be written or not.
func (s *Store) put(ctx context.Context, w write) (rev uint64, err error) {
	m := &nats.Msg{Subject: s.pre + s.subject(w.key), Header: nats.Header{}, Data: w.value}
	if w.remove {
		m.Header["KV-Operation"] = []string{"PURGE"}
		m.Header["Nats-Rollup"] = []string{"sub"}
	}
	if w.ttl > 0 {
		m.Header["Nats-TTL"] = []string{w.ttl.String()}
	}
	if w.on != "" {
		m.Header["Nats-Expected-Last-Subject-Sequence"] = []string{strconv.FormatUint(w.rev, 10)}
		if w.on != w.key {
			m.Header["Nats-Expected-Last-Subject-Sequence-Subject"] = []string{s.subject(w.on)}
		}
	}
	var ack struct {
		Error *jetstream.APIError `json:"error"`
		Seq   uint64              `json:"seq"`
	}
	if err := s.request(ctx, m, &ack); err != nil {
		return 0, fmt.Errorf("write %s: %w", w.key, err)
	}
	switch {
	case ack.Error == nil:
		return ack.Seq, nil
	case ack.Error.ErrorCode == codeWrongLastSeq, ack.Error.ErrorCode == codeWrongLastSeqBusy:
		return 0, errConflict
	}
	return 0, fmt.Errorf("write %s: %w", w.key, ack.Error)
}

// request sends m and decodes the JSON answer. Where nobody listens the bucket may be lost:
// it is made again, and the next request finds it.
func (s *Store) request(ctx context.Context, m *nats.Msg, answer any) error {
	short, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	r, err := s.nc.RequestMsgWithContext(short, m)
	if errors.Is(err, nats.ErrNoResponders) {
		if _, err := s.ensure(ctx); err != nil {
			return err
		}
	}
	if err != nil {
		return err
	}
	return json.Unmarshal(r.Data, answer)
}

// read returns the newest entry of every key that matches one of the filters, at most 1,024
// of them, and the stream's last sequence that this is the truth of. It may lag behind the
// leader of a cluster: what it leads to is written under a condition.
func (s *Store) read(ctx context.Context, filters ...string) (entries []entry, upTo uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	subjects := make([]string, len(filters))
	for i, f := range filters {
		subjects[i] = s.subject(f)
	}
	body, err := json.Marshal(map[string]any{"multi_last": subjects})
	if err != nil {
		return nil, 0, err
	}
	sub, err := s.nc.SubscribeSync(s.nc.NewInbox())
	if err != nil {
		return nil, 0, fmt.Errorf("read %s: %w", filters[0], err)
	}
	defer func() { _ = sub.Unsubscribe() }() // fails with the connection only
	if err := s.nc.PublishRequest(s.api+"DIRECT.GET."+s.stream, sub.Subject, body); err != nil {
		return nil, 0, fmt.Errorf("read %s: %w", filters[0], err)
	}
	for {
		m, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			return nil, 0, fmt.Errorf("read %s: %w", filters[0], err)
		}
		switch status := m.Header.Get("Status"); {
		case status == "503": // nobody listens
			_, err := s.ensure(ctx)
			return nil, 0, fmt.Errorf("read %s: %w", filters[0], errors.Join(nats.ErrNoResponders, err))
		case status == "204", status == "404" && m.Header.Get("Description") == "No Results":
			return entries, number(m.Header, "Nats-UpTo-Sequence"), nil
		case status != "":
			return nil, 0, fmt.Errorf("read %s: %s %s", filters[0], status, m.Header.Get("Description"))
		}
		entries = append(entries, s.entry(m.Header.Get("Nats-Subject"), number(m.Header, "Nats-Sequence"), m.Header, m.Data))
	}
}

// leaderRead returns a key as the stream's leader knows it, or [errNotFound].
func (s *Store) leaderRead(ctx context.Context, key string) (entry, error) {
	body, err := json.Marshal(map[string]any{"last_by_subj": s.subject(key)})
	if err != nil {
		return entry{}, err
	}
	var answer struct {
		Error   *jetstream.APIError `json:"error"`
		Message *struct {
			Seq  uint64    `json:"seq"`
			Hdrs []byte    `json:"hdrs"`
			Data []byte    `json:"data"`
			Time time.Time `json:"time"`
		} `json:"message"`
	}
	if err := s.request(ctx, &nats.Msg{Subject: s.api + "STREAM.MSG.GET." + s.stream, Data: body}, &answer); err != nil {
		return entry{}, fmt.Errorf("read %s: %w", key, err)
	}
	switch e := answer.Error; {
	case e != nil && (e.ErrorCode == codeNoMessage || e.ErrorCode == codeStreamNotFound):
		return entry{}, errNotFound
	case e != nil:
		return entry{}, fmt.Errorf("read %s: %w", key, e)
	case answer.Message == nil:
		return entry{}, fmt.Errorf("read %s: empty answer", key)
	}
	h, err := nats.DecodeHeadersMsg(answer.Message.Hdrs)
	if err != nil {
		h = nats.Header{} // none, or broken ones, which are nobody's that counts
	}
	e := s.entry(s.subject(key), answer.Message.Seq, h, answer.Message.Data)
	e.Time = answer.Message.Time
	if e.Value == nil {
		return entry{}, errNotFound
	}
	return e, nil
}

// entry makes one of what the stream stored.
func (s *Store) entry(subject string, rev uint64, h nats.Header, data []byte) entry {
	e := entry{Key: subject[min(len(s.subject("")), len(subject)):], Rev: rev, Value: data}
	e.Time, _ = time.Parse(time.RFC3339Nano, h.Get("Nats-Time-Stamp")) // absent from a consumer's
	e.TTL, _ = time.ParseDuration(h.Get("Nats-TTL"))                   // zero if there is none
	e.Aged = h.Get("Nats-Marker-Reason") != ""
	if e.Aged || h.Get("KV-Operation") != "" {
		e.Value = nil
	} else if e.Value == nil {
		e.Value = []byte{}
	}
	return e
}

func number(h nats.Header, key string) uint64 {
	n, err := strconv.ParseUint(h.Get(key), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}
