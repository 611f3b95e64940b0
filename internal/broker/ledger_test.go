package broker

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A store of 200 messages and a consumer, whose broker was stopped in good order.
func stoppedStore(t *testing.T) (store string) {
	t.Helper()
	store = t.TempDir()
	b := start(t, Config{Store: store})
	js := jetStream(t, b)
	st, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}, Retention: jetstream.WorkQueuePolicy})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := st.CreateConsumer(t.Context(), consumerC()); err != nil {
		t.Fatal(err)
	}
	for i := range 200 {
		if _, err := js.Publish(t.Context(), fmt.Sprintf("s.%d", i), []byte(strings.Repeat("x", 100))); err != nil {
			t.Fatal(err)
		}
	}
	c, err := st.Consumer(t.Context(), "c")
	if err != nil {
		t.Fatal(err)
	}
	m, err := c.Next()
	if err != nil {
		t.Fatal(err)
	}
	if err := m.DoubleAck(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.Shutdown()
	return store
}

func consumerC() jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{Durable: "c", AckPolicy: jetstream.AckExplicitPolicy}
}

// startAgain returns what the log says.
func startAgain(t *testing.T, store string) (*Broker, *logBuffer) {
	t.Helper()
	log := &logBuffer{}
	return start(t, Config{Store: store, Logger: slog.New(slog.NewTextHandler(log, nil))}), log
}

func TestLostMessagesAreTold(t *testing.T) {
	t.Run("none", func(t *testing.T) {
		_, log := startAgain(t, stoppedStore(t))
		if strings.Contains(log.String(), "WARN") || strings.Contains(log.String(), "good order") {
			t.Errorf("a sound store is complained of:\n%s", log)
		}
	})
	for name, damage := range map[string]func(t *testing.T, stream string){
		"block cut":  func(t *testing.T, stream string) { cutInHalf(t, filepath.Join(stream, "msgs", "1.blk")) },
		"block gone": func(t *testing.T, stream string) { removeFile(t, filepath.Join(stream, "msgs", "1.blk")) },
	} {
		t.Run(name, func(t *testing.T) {
			store := stoppedStore(t)
			stream := filepath.Join(store, "jetstream", "$G", "streams", "S")
			damage(t, stream)
			removeFile(t, filepath.Join(stream, "msgs", "index.db"))
			b, log := startAgain(t, store)
			left := messageCount(t, jetStream(t, b), "S")
			want := fmt.Sprintf("missing_at_least=%d messages_then=199 messages_now=%d", 199-left, left)
			if left >= 199 || !strings.Contains(log.String(), "the store is damaged") || !strings.Contains(log.String(), want) {
				t.Errorf("%d messages left; the log does not say %q:\n%s", left, want, log)
			}
		})
	}
}

// The broker is told to stop while somebody else is connected, as an enqueue that waits.
func TestStopWithClientsIsInGoodOrder(t *testing.T) {
	store := t.TempDir()
	b := start(t, Config{Store: store})
	nc, err := nats.Connect(b.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	b.Shutdown()
	l, err := readLedger(store)
	if err != nil {
		t.Fatal(err)
	}
	if l.Exact {
		t.Error("the ledger says that nothing came or went, and a client was connected")
	}
	if _, log := startAgain(t, store); strings.Contains(log.String(), "good order") {
		t.Errorf("the log complains of a stop in good order:\n%s", log)
	}
}

// A consumer that cannot be read is in the way of one that could be made.
func TestUnreadableConsumerIsSetAside(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, consumer string){
		"state cut":     func(t *testing.T, consumer string) { cutInHalf(t, filepath.Join(consumer, "o.dat")) },
		"state garbage": func(t *testing.T, consumer string) { garble(t, filepath.Join(consumer, "o.dat")) },
		"meta garbage":  func(t *testing.T, consumer string) { garble(t, filepath.Join(consumer, "meta.inf")) },
	} {
		t.Run(name, func(t *testing.T) {
			store := stoppedStore(t)
			damage(t, filepath.Join(store, "jetstream", "$G", "streams", "S", "obs", "c"))
			b, log := startAgain(t, store)
			js := jetStream(t, b)
			c, err := js.CreateConsumer(t.Context(), "S", consumerC())
			if err != nil {
				t.Fatalf("the consumer cannot be made again: %v", err)
			}
			if got := c.CachedInfo().NumPending; got != 199 {
				t.Errorf("%d messages wait for the new consumer, want 199", got)
			}
			if !strings.Contains(log.String(), "level=WARN msg=\"the store is damaged") || !strings.Contains(log.String(), "consumer=c ") {
				t.Errorf("the log does not say it:\n%s", log)
			}
		})
	}
}

func TestMissing(t *testing.T) {
	t1, t2 := time.Unix(1, 0), time.Unix(2, 0)
	had := holding{Created: t1, Messages: 10, Last: 100}
	expires := had
	expires.Expires = true
	for name, tt := range map[string]struct {
		had, has holding
		exact    bool
		want     uint64
	}{
		"as before":               {had, had, true, 0},
		"fewer":                   {had, holding{Created: t1, Messages: 7, Last: 100}, true, 3},
		"fewer, as may be":        {had, holding{Created: t1, Messages: 7, Last: 100}, false, 0},
		"fewer, as they expire":   {expires, holding{Created: t1, Messages: 7, Last: 100}, true, 0},
		"the end is gone":         {had, holding{Created: t1, Messages: 10, Last: 60}, false, 40},
		"the end of what expires": {expires, holding{Created: t1, Messages: 10, Last: 60}, true, 40},
		"more":                    {had, holding{Created: t1, Messages: 20, Last: 110}, true, 0},
		"made again":              {had, holding{Created: t2, Messages: 1, Last: 1}, true, 0},
		"gone":                    {had, holding{}, true, 10},
	} {
		if got := tt.had.missing(tt.has, tt.exact); got != tt.want {
			t.Errorf("%s: %d missing, want %d", name, got, tt.want)
		}
	}
}

func cutInHalf(t *testing.T, name string) {
	t.Helper()
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(name, info.Size()/2); err != nil {
		t.Fatal(err)
	}
}

func garble(t *testing.T, name string) {
	t.Helper()
	if err := os.WriteFile(name, []byte("no such thing"), 0o600); err != nil {
		t.Fatal(err)
	}
}

func removeFile(t *testing.T, name string) {
	t.Helper()
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
}

// logBuffer is a log that is read while it is written.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// A broker that is killed right after its start has not noted anything of its own. What left the
// store meanwhile left it in good order.
func TestKilledSoonAfterTheStart(t *testing.T) {
	store := stoppedStore(t)
	startAgain(t, store)
	l, err := readLedger(store)
	if err != nil {
		t.Fatal(err)
	}
	if l.Exact || l.Stopped {
		t.Errorf("while a broker runs, the ledger is still that of a stop: %+v", l)
	}
}
