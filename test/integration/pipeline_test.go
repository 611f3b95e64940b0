package integration

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand/pipeline"
	"github.com/millhand/millhand/pipeline/stream"
)

// moves is how many processes of a group are killed and stopped, one after the other. A process is stopped for
// longer than it may have a partition, which is ten seconds.
var moves = flag.Int("moves", 2, "of a group of pipelines, each a kill or a stop of up to fourteen seconds")

// memberEnv makes the test binary a process with a pipeline; it holds the [memberArgs].
const memberEnv = "MILLHAND_TEST_MEMBER"

// memberArgs say what a member does.
type memberArgs struct {
	URL    string
	Out    string // the directory of what all members write
	Shared bool   // it shares the stream through a durable, in no order
}

const groupPartitions = 8

// A change is what the members are told of.
type change struct {
	Key string
	N   int
}

// serveMember is the process. It writes each change that it handles, and each window, in a line of one write.
func serveMember(text string) {
	var args memberArgs
	if err := json.Unmarshal([]byte(text), &args); err != nil {
		panic(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	nc, err := dial(args.URL, nats.MaxReconnects(-1), nats.ReconnectWait(100*time.Millisecond), nats.ReconnectBufSize(-1))
	if err != nil {
		panic(err)
	}
	defer nc.Close()
	p, err := member(nc, args)
	if err == nil {
		fmt.Fprintln(os.Stderr, "member started")
		err = p.Run(ctx)
	}
	if err != nil {
		panic(err)
	}
}

func member(nc *nats.Conn, args memberArgs) (*pipeline.Pipeline[change], error) {
	note, err := os.OpenFile(filepath.Join(args.Out, "changes"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	windows, err := os.OpenFile(filepath.Join(args.Out, "windows"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	c := pipeline.Config[change]{
		Concurrency: 4, InFlight: 100,
		OrderBy: func(m *pipeline.Message[change]) string { return m.Value.Key },
		Process: func(_ context.Context, m *pipeline.Message[change]) error {
			_, err := fmt.Fprintf(note, "%s %d\n", m.Value.Key, m.Value.N)
			return err
		},
	}
	if args.Shared {
		c.OrderBy = nil
		c.Source, err = stream.NewSource(nc, stream.SourceConfig{Stream: "CHANGES", Durable: "all", AckWait: 5 * time.Second, Dead: stream.Drop}, stream.JSON[change])
		if err != nil {
			return nil, err
		}
		return pipeline.New(c)
	}
	o, err := stream.NewOrdered(nc, stream.OrderedConfig{
		Stream: "CHANGES", Group: "crm", Partitions: groupPartitions, Subject: "changes.{partition}.*", Dead: stream.Drop,
	}, stream.JSON[change])
	if err != nil {
		return nil, err
	}
	tens := pipeline.NewFold(pipeline.FoldConfig[string, change, int]{
		Key: func(c change) string { return c.Key }, At: func(c change) time.Time { return time.Unix(int64(c.N), 0) },
		Size: 10 * time.Second, Delay: time.Second, State: o.Store(),
		Zero: func(string) int { return 0 }, Fold: func(n int, _ change) int { return n + 1 },
		Handle: func(_ context.Context, w *pipeline.Window[string, int]) error {
			_, err := fmt.Fprintf(windows, "%s %d %d %d\n", w.Key, w.Start.Unix(), w.Revision, w.Value)
			return err
		},
	})
	process := c.Process
	c.Source, c.Batchers = o, []pipeline.AnyBatcher{tens}
	c.Process = func(ctx context.Context, m *pipeline.Message[change]) error {
		tens.Add(m, m.Value)
		return process(ctx, m)
	}
	return pipeline.New(c)
}

// A membership is a stream, and processes that handle it.
type membership struct {
	js      jetstream.JetStream
	out     string
	members []*process
	next    map[string]int
}

func newMembership(t *testing.T) (*membership, *brokerProcess) {
	t.Helper()
	b := startBroker(t)
	js, err := jetstream.New(connect(t, b.URL))
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := stream.Partitioned(jetstream.StreamConfig{Name: "CHANGES", Subjects: []string{"changes.*"}}, groupPartitions, 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	return &membership{js: js, out: t.TempDir(), next: map[string]int{}}, b
}

func (m *membership) join(t *testing.T, args memberArgs) {
	t.Helper()
	args.Out = m.out
	text, err := json.Marshal(args)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = []string{memberEnv + "=" + string(text)}
	p := launch(t, "member", cmd)
	p.awaitLog(t, "member started")
	m.members = append(m.members, p)
}

// publish stores the next n changes of each of 40 keys.
func (m *membership) publish(t *testing.T, n int) {
	t.Helper()
	for range n {
		for k := range 40 {
			key := fmt.Sprintf("k%d", k)
			m.next[key]++
			if _, err := m.js.PublishAsync("changes."+key, fmt.Appendf(nil, `{"Key":%q,"N":%d}`, key, m.next[key])); err != nil {
				t.Fatal(err)
			}
		}
	}
	<-m.js.PublishAsyncComplete()
}

// lines calls f with each line of what the members wrote.
func (m *membership) lines(t *testing.T, file string, f func(line string)) {
	t.Helper()
	in, err := os.Open(filepath.Join(m.out, file))
	if err != nil {
		return // nobody has written yet
	}
	defer func() { _ = in.Close() }() // it was read
	for s := bufio.NewScanner(in); s.Scan(); {
		f(s.Text())
	}
}

// handled returns how often each change was.
func (m *membership) handled(t *testing.T) map[change]int {
	t.Helper()
	all := map[change]int{}
	m.lines(t, "changes", func(line string) {
		var c change
		if _, err := fmt.Sscan(line, &c.Key, &c.N); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		all[c]++
	})
	return all
}

func (m *membership) total() (n int) {
	for _, of := range m.next {
		n += of
	}
	return n
}

// watchCursors fails the test if a cursor goes back, or is written by a former owner.
func (m *membership) watchCursors(t *testing.T) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var state jetstream.Stream
	until(t, "the cursors' stream is there", func() (ok bool) {
		var err error
		state, err = m.js.Stream(ctx, "millhand-state")
		return err == nil
	})
	consumer, err := state.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	type cursor struct{ Epoch, Seq uint64 }
	last := map[string]cursor{}
	var watching sync.WaitGroup
	messages, err := consumer.Messages()
	if err != nil {
		t.Fatal(err)
	}
	watching.Go(func() {
		for {
			msg, err := messages.Next()
			if err != nil {
				return
			}
			var c cursor
			if err := json.Unmarshal(msg.Data(), &c); err != nil {
				t.Errorf("cursor: %v", err)
			}
			if before := last[msg.Subject()]; c.Epoch < before.Epoch || c.Seq < before.Seq {
				t.Errorf("%s was %+v, and is %+v", msg.Subject(), before, c)
			}
			last[msg.Subject()] = c
		}
	})
	return func() { messages.Stop(); cancel(); watching.Wait() }
}

// Processes of a group join, are killed, and are stopped for longer than they may have a partition, under a
// load. Seen from what they write: no gap, each key in its order, and all windows together have each change once.
func TestGroupOfKilledAndFrozenMembers(t *testing.T) {
	t.Parallel()
	m, b := newMembership(t)
	args := memberArgs{URL: b.URL}
	for range 3 {
		m.join(t, args)
	}
	stop := m.watchCursors(t)
	for move := range *moves {
		loaded := make(chan struct{})
		i := rand.IntN(len(m.members))
		victim := m.members[i]
		m.publish(t, 20)
		if move%2 == 0 {
			victim.freeze(t)
			time.AfterFunc(12*time.Second, func() { close(loaded) }) // for longer than its partitions are its own
			m.publish(t, 20)
			receive(t, "the process is stopped for long", loaded)
			victim.thaw(t)
		} else {
			victim.kill(t)
			m.members = append(m.members[:i], m.members[i+1:]...)
			m.publish(t, 20)
			m.join(t, args)
		}
		m.publish(t, 20)
	}
	want := m.total()
	for key := range m.next {
		m.next[key] += 1000 // closes all windows before
	}
	m.publish(t, 1)
	until(t, "everything is handled", func() bool {
		return len(m.handled(t)) == want+len(m.next)
	})
	until(t, "all windows are handled", func() bool { return m.windows(t) == want })
	m.inOrder(t)
	stop()
	for _, p := range m.members {
		p.signal(t, syscall.SIGTERM)
		if code := p.wait(t); code != 0 {
			t.Errorf("a member ended with %d", code)
		}
	}
}

// inOrder fails the test unless each key's changes were handled first in their order; the last of each is far
// ahead.
func (m *membership) inOrder(t *testing.T) {
	t.Helper()
	first := map[string]int{}
	m.lines(t, "changes", func(line string) {
		var c change
		if _, err := fmt.Sscan(line, &c.Key, &c.N); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		switch {
		case c.N == first[c.Key]+1, c.N == m.next[c.Key] && first[c.Key] == c.N-1001:
			first[c.Key] = c.N
		case c.N > first[c.Key]:
			t.Errorf("change %d of %s came first, before change %d", c.N, c.Key, first[c.Key]+1)
		}
	})
}

// windows returns how many changes all windows have, each by its last revision.
func (m *membership) windows(t *testing.T) (n int) {
	t.Helper()
	type row struct{ revision, value int }
	rows := map[string]row{}
	m.lines(t, "windows", func(line string) {
		var key string
		var start int
		var r row
		if _, err := fmt.Sscan(line, &key, &start, &r.revision, &r.value); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		id := fmt.Sprint(key, " ", start)
		if before, ok := rows[id]; ok && before.revision == r.revision && before.value != r.value {
			t.Errorf("window %s has two values in revision %d: %d and %d", id, r.revision, before.value, r.value)
		}
		if r.revision >= rows[id].revision {
			rows[id] = r
		}
	})
	for _, r := range rows {
		n += r.value
	}
	return n
}

// A process that shares a stream is killed with messages in hand: others have them after AckWait, and nothing
// is left.
func TestKilledMemberOfASharedStream(t *testing.T) {
	t.Parallel()
	m, b := newMembership(t)
	args := memberArgs{URL: b.URL, Shared: true}
	for range 2 {
		m.join(t, args)
	}
	m.publish(t, 50)
	until(t, "some is handled", func() bool { return len(m.handled(t)) > 200 })
	m.members[0].kill(t)
	m.publish(t, 50)
	until(t, "everything is handled", func() bool { return len(m.handled(t)) == m.total() })
	until(t, "everything is acknowledged", func() bool {
		c, err := m.js.Consumer(t.Context(), "CHANGES", "all")
		if err != nil {
			t.Fatal(err)
		}
		info, err := c.Info(t.Context())
		return err == nil && info.NumAckPending == 0 && info.NumPending == 0
	})
}
