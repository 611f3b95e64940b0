package registry

import (
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/millhand/millhand/internal/natstest"
)

// Whatever happens to nodes and broker, no job starts above a limit, which the observer sees
// to; and when it is over, the limits are fully used.
func TestNeverAboveTheLimit(t *testing.T) {
	natstest.Check(t, func(t *rapid.T, server *natstest.Server) {
		s := newScene(t, server)
		c := &chaos{scene: s, t: t, per: 5 * time.Second}
		if rapid.IntRange(0, 7).Draw(t, "haunted") == 0 {
			c.gone = 1100
			s.haunt(mails, c.gone)
		}
		s.limit(imports, rapid.IntRange(1, 30).Draw(t, "limit"), 0)
		s.limit(mails, c.gone+rapid.IntRange(1, 30).Draw(t, "rate"), c.per)
		for range rapid.IntRange(1, 4).Draw(t, "nodes") {
			c.join()
		}
		for range rapid.IntRange(3, 12).Draw(t, "events") {
			c.event()
			time.Sleep(time.Duration(rapid.IntRange(0, 12_000).Draw(t, "pause")) * time.Millisecond)
		}
		c.calm()
	})
}

type chaos struct {
	*scene
	t    *rapid.T
	per  time.Duration
	made int
	gone int  // nodes that left starts behind
	down bool // the broker
}

// longestJob is how long a job can take: half as long again as on average.
const longestJob = 6 * time.Second

func (c *chaos) join() {
	c.made++
	n := c.newNode("n"+strconv.Itoa(c.made), nodeConfig{
		concurrency: rapid.IntRange(1, 20).Draw(c.t, "concurrency"),
		jobs:        time.Duration(rapid.IntRange(20, int(longestJob*2/3/time.Millisecond)).Draw(c.t, "job")) * time.Millisecond,
		look:        20 * time.Millisecond,
		deaf:        rapid.IntRange(0, 3).Draw(c.t, "deaf") == 0,
	})
	n.start(func() {})
}

func (c *chaos) some() *node {
	all := c.all()
	if len(all) == 0 {
		return nil
	}
	return all[rapid.IntRange(0, len(all)-1).Draw(c.t, "which")]
}

func (c *chaos) event() {
	n := c.some()
	switch what := rapid.SampledFrom([]string{"join", "limit", "rate", "freeze", "thaw", "kill", "leave", "cut", "broker"}).Draw(c.t, "event"); {
	case what == "join" && !c.down:
		c.join()
	case what == "limit" && !c.down:
		c.limit(imports, rapid.IntRange(1, 30).Draw(c.t, "limit"), 0)
	case what == "rate" && !c.down:
		c.limit(mails, c.gone+rapid.IntRange(1, 30).Draw(c.t, "rate"), c.per)
	case what == "broker" && c.down:
		c.up()
	case what == "broker":
		c.cutOff(time.Hour)
		c.server.Stop()
		c.down = true
	case n == nil:
	case what == "freeze" && n.frozen == nil:
		n.freeze()
	case what == "thaw" && n.frozen != nil:
		n.thaw()
	case what == "kill":
		n.crash()
	case what == "leave" && n.frozen == nil:
		n.leave()
	case what == "cut":
		c.cutOff(time.Second / 2)
		n.link.Cut()
	}
}

func (c *chaos) up() {
	c.server.Start(c.t)
	c.down = false
	time.Sleep(time.Second) // until all are connected
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, b := range c.blinds {
		if b[1].After(time.Now()) {
			c.blinds[i][1] = time.Now()
		}
	}
}

// cutOff notes that nodes are cut off from now on.
func (c *chaos) cutOff(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.blinds = append(c.blinds, [2]time.Time{time.Now(), time.Now().Add(d)})
}

// calm ends all trouble and checks that the limits are used to the full.
func (c *chaos) calm() {
	if c.down {
		c.up()
	}
	for _, n := range c.all() {
		if n.frozen != nil {
			n.thaw()
		}
	}
	c.made = 100
	c.join()
	c.limit(imports, 4, 0)
	time.Sleep(2*DefaultTTL + c.per)
	before := c.startedOf(imports)
	time.Sleep(2 * longestJob) // two turns of a slot
	if c.startedOf(imports) == before {
		c.t.Errorf("no job of %v started in two turns, beside others: %v", imports, c.held(imports))
	}
	wants := 0
	for _, n := range c.all() {
		wants += min(n.cfg.concurrency, 4)
	}
	sum := 0
	for _, g := range c.held(imports) {
		sum += g.Held
	}
	if want := min(4, wants); sum > 4 || sum < want-len(c.all()) {
		c.t.Errorf("%d of 4 permits are held: %v", sum, c.held(imports))
	}
}
