package integration

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/millhand/millhand"
)

// A broker that is killed at any moment has all jobs of an atomic enqueue when it is back, or none. If
// it was in the middle of storing them, it stores the rest when it starts, with no client to help.
func TestAtomicEnqueuesOnABrokerThatIsKilled(t *testing.T) {
	t.Parallel()
	b := startBroker(t)
	b.Verbose = true // from the next start on
	const jobs = 1000
	if _, err := newClient(t, b.URL).Enqueue(t.Context(), millhand.Raw{Name: "first"}); err != nil { // which makes the streams
		t.Fatal(err)
	}
	restored := 0
	for kill := range *kills {
		ctx, cancel := context.WithCancel(t.Context())
		stored := make(chan []string) // the types of the enqueues that came back as stored
		client := newClient(t, b.URL)
		go func() { stored <- enqueueUntilEnd(ctx, client, fmt.Sprintf("kill%d", kill), jobs) }()
		timer := time.NewTimer(time.Duration(rand.Int64N(int64(300 * time.Millisecond))))
		<-timer.C
		b.kill(t)
		cancel()
		known := receive(t, "the enqueues end", stored)
		b.start(t)
		counts := jobsByType(t, b.URL, fmt.Sprintf("kill%d-", kill))
		for _, typ := range known {
			if counts[typ] != jobs {
				t.Errorf("%s was stored, and has %d jobs", typ, counts[typ])
			}
		}
		for typ, n := range counts {
			if n != jobs {
				t.Errorf("%s has %d jobs", typ, n)
			}
		}
		if line, _ := b.log.find("Restoring partial batch write"); line != "" {
			restored++
		}
		t.Logf("kill %d: %d atomic enqueues returned, %d are there", kill, len(known), len(counts))
	}
	t.Logf("the broker was in the middle of one at %d of %d kills", restored, *kills)
}

// enqueueUntilEnd enqueues batches, each of a type of its own, and returns the types of those that
// were stored.
func enqueueUntilEnd(ctx context.Context, client *millhand.Client, prefix string, jobs int) (stored []string) {
	for n := 0; ; n++ {
		typ := fmt.Sprintf("%s-%d", prefix, n)
		batch := make([]millhand.Request, jobs)
		for i := range batch {
			batch[i] = millhand.Request{
				Args:    millhand.Raw{Name: typ, Payload: fmt.Appendf(nil, `{"job":%d}`, i)},
				Options: []millhand.EnqueueOption{millhand.WithID(strconv.Itoa(i))},
			}
		}
		if _, err := client.EnqueueAtomic(ctx, batch); err != nil {
			return stored
		}
		stored = append(stored, typ)
	}
}

// jobsByType counts what waits of the types with a prefix, and removes it.
func jobsByType(t *testing.T, url, prefix string) map[string]int {
	t.Helper()
	js, err := jetstream.New(connect(t, url))
	if err != nil {
		t.Fatal(err)
	}
	st, err := js.Stream(t.Context(), "millhand-queue-default")
	if err != nil {
		t.Fatal(err)
	}
	info, err := st.Info(t.Context(), jetstream.WithSubjectFilter("millhand.default.ready.>"))
	if err != nil {
		t.Fatal(err)
	}
	counts := make(map[string]int)
	for subject, n := range info.State.Subjects {
		if typ := strings.Split(subject, ".")[3]; strings.HasPrefix(typ, prefix) {
			counts[typ] += int(n) //nolint:gosec // 1
		}
	}
	if err := st.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	return counts
}
