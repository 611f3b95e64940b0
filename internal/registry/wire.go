package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
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
	// errTooMany says that there are more keys than one answer of the broker can have.
	errTooMany = errors.New("too many keys for one answer of the broker")
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

// because returns, for a request to a subject that was not answered, that it was not allowed: the
// server tells so apart from any request.
func (s *Store) because(err error, subject string) error {
	denied := s.nc.LastError()
	if errors.Is(err, context.DeadlineExceeded) && errors.Is(denied, nats.ErrPermissionViolation) && strings.Contains(denied.Error(), `"`+subject+`"`) {
		return denied
	}
	return err
}

// isRefusal reports whether the broker would say the same again.
func isRefusal(err error) bool {
	if errors.Is(err, nats.ErrPermissionViolation) {
		return true
	}
	e, ok := errors.AsType[*jetstream.APIError](err)
	return ok && e.Code < http.StatusInternalServerError
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
		return s.because(err, m.Subject)
	}
	return json.Unmarshal(r.Data, answer)
}

// read returns the newest entry of every key that matches one of the filters, and a sequence
// of the stream up to which this is the truth. It may lag behind the leader of a cluster: what
// it leads to is written under a condition.
func (s *Store) read(ctx context.Context, filters ...string) (entries []entry, upTo uint64, err error) {
	entries, upTo, err = s.readAtOnce(ctx, filters)
	if errors.Is(err, errTooMany) {
		return s.readOneByOne(ctx, filters)
	}
	return entries, upTo, err
}

// readOneByOne is read in pages, for as many keys as there are.
func (s *Store) readOneByOne(ctx context.Context, filters []string) (entries []entry, upTo uint64, err error) {
	for i, filter := range filters {
		found, first, err := s.readPages(ctx, filter, 1)
		if err != nil {
			return nil, 0, err
		}
		if entries = append(entries, found...); i == 0 || first < upTo {
			upTo = first
		}
	}
	return entries, upTo, nil
}

// readAtOnce is read for up to 1,024 keys; of more it returns [errTooMany].
func (s *Store) readAtOnce(ctx context.Context, filters []string) (entries []entry, upTo uint64, err error) {
	subjects := make([]string, len(filters))
	for i, f := range filters {
		subjects[i] = s.subject(f)
	}
	entries, end, err := s.directGet(ctx, map[string]any{"multi_last": subjects})
	if err != nil {
		return nil, 0, fmt.Errorf("read %s: %w", filters[0], err)
	}
	return entries, number(end, "Nats-UpTo-Sequence"), nil
}

// pageSize is how many keys one answer has when there are too many for one.
const pageSize = 1000

// readPages returns the entries of the filter's keys from a revision on, however many there
// are, in the order in which they were written; and a revision up to which nothing is missing.
//
// A key that is written while the pages are read comes again on a later one, or its new
// revision is above all that were read: a write under the condition that those are the
// newest is refused. So it is as good as one look at all, though between two pages hours
// may pass. What expires meanwhile may be among them still.
func (s *Store) readPages(ctx context.Context, filter string, from uint64) (entries []entry, first uint64, err error) {
	newest := make(map[string]int) // by key: its place
	for {
		page, end, err := s.directGet(ctx, map[string]any{"next_by_subj": s.subject(filter), "seq": max(from, 1), "batch": pageSize})
		if err != nil {
			return nil, 0, fmt.Errorf("read %s: %w", filter, err)
		}
		for _, e := range page {
			if at, ok := newest[e.Key]; ok {
				entries[at] = e
				continue
			}
			newest[e.Key] = len(entries)
			entries = append(entries, e)
		}
		if len(page) == 0 {
			return entries, first, nil
		}
		from = page[len(page)-1].Rev + 1
		if first == 0 {
			first = from - 1
		}
		if number(end, "Nats-Num-Pending") == 0 {
			return entries, first, nil
		}
	}
}

// directGet asks for messages and returns them with the header of what ended them.
func (s *Store) directGet(ctx context.Context, request map[string]any) (entries []entry, end nats.Header, err error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	body, err := json.Marshal(request)
	if err != nil {
		return nil, nil, err
	}
	sub, err := s.nc.SubscribeSync(s.nc.NewInbox())
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = sub.Unsubscribe() }() // fails with the connection only
	subject := s.api + "DIRECT.GET." + s.stream
	if err := s.nc.PublishRequest(subject, sub.Subject, body); err != nil {
		return nil, nil, err
	}
	for {
		m, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			return nil, nil, s.because(err, subject)
		}
		switch status, text := m.Header.Get("Status"), m.Header.Get("Description"); {
		case status == "503": // nobody listens
			_, err := s.ensure(ctx)
			return nil, nil, errors.Join(nats.ErrNoResponders, err)
		case status == "204", status == "404" && (text == "No Results" || text == "Message Not Found" && len(entries) == 0):
			return entries, m.Header, nil
		case status == "413":
			return nil, nil, errTooMany
		case status != "":
			return nil, nil, fmt.Errorf("the broker says %s %s", status, text)
		}
		entries = append(entries, s.entry(m.Header.Get("Nats-Subject"), number(m.Header, "Nats-Sequence"), m.Header, m.Data))
	}
}

// leaderRead returns a key as the stream's leader knows it, or [errNotFound].
func (s *Store) leaderRead(ctx context.Context, key string) (entry, error) {
	e, err := s.newest(ctx, key)
	if err == nil && e.Value == nil {
		return entry{}, errNotFound
	}
	return e, err
}

// newest returns what was written last to a key, or to any that matches, as the stream's leader
// knows it: be it a removal. It returns [errNotFound] if there is nothing.
func (s *Store) newest(ctx context.Context, filter string) (entry, error) {
	body, err := json.Marshal(map[string]any{"last_by_subj": s.subject(filter)})
	if err != nil {
		return entry{}, err
	}
	var answer struct {
		Error   *jetstream.APIError `json:"error"`
		Message *struct {
			Subject string    `json:"subject"`
			Seq     uint64    `json:"seq"`
			Hdrs    []byte    `json:"hdrs"`
			Data    []byte    `json:"data"`
			Time    time.Time `json:"time"`
		} `json:"message"`
	}
	if err := s.request(ctx, &nats.Msg{Subject: s.api + "STREAM.MSG.GET." + s.stream, Data: body}, &answer); err != nil {
		return entry{}, fmt.Errorf("read %s: %w", filter, err)
	}
	switch e := answer.Error; {
	case e != nil && (e.ErrorCode == codeNoMessage || e.ErrorCode == codeStreamNotFound):
		return entry{}, errNotFound
	case e != nil:
		return entry{}, fmt.Errorf("read %s: %w", filter, e)
	case answer.Message == nil:
		return entry{}, fmt.Errorf("read %s: empty answer", filter)
	}
	h, err := nats.DecodeHeadersMsg(answer.Message.Hdrs)
	if err != nil {
		h = nats.Header{} // none, or broken ones, which are nobody's that counts
	}
	e := s.entry(answer.Message.Subject, answer.Message.Seq, h, answer.Message.Data)
	e.Time = answer.Message.Time
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
