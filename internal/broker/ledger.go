package broker

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

const (
	ledgerName  = "broker.ledger"
	ledgerEvery = 5 * time.Second
	damagedName = "damaged" // directory below the store, of what was set aside
)

// A ledger says what the streams held when it was written. The server takes a block that it
// cannot read for the end of a stream, or leaves it away, and says nothing of it.
type ledger struct {
	Stopped bool               `json:"stopped,omitempty"` // the broker stopped in good order right after that
	Exact   bool               `json:"exact"`             // and nothing came or went in between, since nobody was connected
	Streams map[string]holding `json:"streams"`
}

// A holding is what one stream held.
type holding struct {
	Created  time.Time `json:"created"` // another one: another stream of that name
	Messages uint64    `json:"messages"`
	Last     uint64    `json:"last_seq"`
	Expires  bool      `json:"expires,omitempty"` // messages leave it by themselves
}

// takeStock writes what a running broker holds. If that fails, the next start has less to compare.
func (b *Broker) takeStock() { b.note(ledger{}) }

// takeLastStock writes what a broker holds that stops in good order.
func (b *Broker) takeLastStock(clients int) { b.note(ledger{Stopped: true, Exact: clients == 0}) }

// note writes l, with what the streams hold now.
func (b *Broker) note(l ledger) {
	now, err := stockOf(b.srv.Load())
	if err == nil {
		l.Streams = now.Streams
		err = l.write(b.cfg.Store)
	}
	if err != nil {
		b.log.Debug("cannot note what the store holds", slog.Any("err", err))
	}
}

func (l ledger) write(store string) error {
	text, err := json.Marshal(l)
	if err != nil {
		return err
	}
	name := filepath.Join(store, ledgerName)
	if err := os.WriteFile(name+".new", text, 0o600); err != nil {
		return err
	}
	return os.Rename(name+".new", name)
}

func readLedger(store string) (l ledger, err error) {
	text, err := os.ReadFile(filepath.Join(store, ledgerName))
	if err != nil {
		return ledger{}, err
	}
	return l, json.Unmarshal(text, &l)
}

// stockOf counts what a running server has.
func stockOf(srv *server.Server) (ledger, error) {
	accounts, err := accountsOf(srv, &server.JSzOptions{Streams: true, Config: true})
	if err != nil {
		return ledger{}, err
	}
	l := ledger{Streams: make(map[string]holding)}
	for _, a := range accounts {
		for _, s := range a.Streams {
			l.Streams[a.Name+"/"+s.Name] = holding{
				Created: s.Created, Messages: s.State.Msgs, Last: s.State.LastSeq,
				Expires: s.Config != nil && (s.Config.MaxAge > 0 || s.Config.AllowMsgTTL),
			}
		}
	}
	return l, nil
}

func accountsOf(srv *server.Server, o *server.JSzOptions) ([]*server.AccountDetail, error) {
	o.Accounts, o.Limit = true, 1<<20
	info, err := srv.Jsz(o)
	if err != nil {
		return nil, err
	}
	return info.AccountDetails, nil
}

// compare warns of what was there before this start and is not any more.
func (b *Broker) compare(srv *server.Server) {
	then, err := readLedger(b.cfg.Store)
	if err != nil {
		return // of a first start, or one after an older version
	}
	now, err := stockOf(srv)
	if err != nil {
		b.log.Debug("cannot see what the store holds", slog.Any("err", err))
		return
	}
	if !then.Stopped && !then.Exact && b.srv.Load() == nil { // older versions noted only whether it was exact
		b.log.Info("the broker was not stopped in good order the last time")
	}
	for _, name := range slices.Sorted(maps.Keys(then.Streams)) {
		had, has := then.Streams[name], now.Streams[name]
		if missing := had.missing(has, then.Exact); missing > 0 {
			b.log.Warn("the store is damaged: a stream has lost messages since the broker ran last; restore a backup if they matter",
				slog.String("stream", filepath.Base(name)), slog.Uint64("missing_at_least", missing),
				slog.Uint64("messages_then", had.Messages), slog.Uint64("messages_now", has.Messages),
				slog.Uint64("last_then", had.Last), slog.Uint64("last_now", has.Last))
		}
	}
}

// missing returns how many messages cannot have left in good order.
func (h holding) missing(now holding, exact bool) uint64 {
	switch {
	case now.Created.IsZero(): // the stream is not there
		return h.Messages
	case !now.Created.Equal(h.Created):
		return 0
	case exact && !h.Expires && now.Messages < h.Messages:
		return h.Messages - now.Messages
	case now.Last < h.Last:
		return h.Last - now.Last
	}
	return 0
}

// setAside moves the directories of consumers that the server could not read out of its way:
// it would refuse to make them again while they are there.
func (b *Broker) setAside(srv *server.Server) error {
	accounts, err := accountsOf(srv, &server.JSzOptions{Streams: true, Consumer: true})
	if err != nil {
		return err
	}
	for _, a := range accounts {
		for _, s := range a.Streams {
			alive := make(map[string]bool)
			for _, c := range s.Consumer {
				alive[c.Name] = true
			}
			dir := filepath.Join(b.cfg.Store, "jetstream", a.Name, "streams", s.Name, "obs")
			entries, err := os.ReadDir(dir)
			if err != nil && !os.IsNotExist(err) {
				return err
			}
			for _, e := range entries {
				if alive[e.Name()] {
					continue
				}
				if err := b.setAsideOne(filepath.Join(dir, e.Name()), s.Name, e.Name()); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (b *Broker) setAsideOne(dir, stream, consumer string) error {
	damaged := filepath.Join(b.cfg.Store, damagedName)
	if err := os.MkdirAll(damaged, 0o700); err != nil {
		return err
	}
	to := filepath.Join(damaged, stream+"."+consumer+"."+strconv.FormatInt(time.Now().UnixNano(), 10))
	if err := os.Rename(dir, to); err != nil {
		return fmt.Errorf("set consumer %s of stream %s aside: %w", consumer, stream, err)
	}
	b.log.Warn("the store is damaged: the consumer of a type cannot be read and is made again; jobs that were running will run again",
		slog.String("stream", stream), slog.String("consumer", consumer), slog.String("moved_to", to))
	return nil
}
