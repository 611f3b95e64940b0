package workflow

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// The sums of a group are those of its shards, each of which counts once, in whatever order they come.
func TestGroup(t *testing.T) {
	l := Layout{Jobs: 2*ShardJobs + 5, Width: ShardJobs}
	if l.Shards() != 3 || l.Size(1) != ShardJobs || l.Size(2) != 5 || l.Size(3) != 0 {
		t.Errorf("%d shards, of %d, %d and %d jobs", l.Shards(), l.Size(1), l.Size(2), l.Size(3))
	}
	r := Root{Gen: 1}
	for _, k := range []int{2, 0, 2, 1, 0} {
		var s Shard
		for i := range l.Size(k) {
			s, _ = s.End(i, Succeeded+State(i&1)) // every second one fails
		}
		if again, changed := s.End(3, Succeeded); changed || again.At(3) != Failed {
			t.Error("a job has ended twice")
		}
		r, _ = r.Fill(k, s.Counts())
		if _, ended := r.End(ShardJobs, 0); ended {
			t.Fatal("ended before it was sealed")
		}
	}
	r, _ = r.Seal(l.Jobs)
	if want := (Counts{Succeeded: ShardJobs + 3, Failed: ShardJobs + 2}); r.Counts != want {
		t.Errorf("%+v, want %+v", r.Counts, want)
	}
	if state, ended := r.End(ShardJobs, ShardJobs+1); !ended || state != Failed {
		t.Errorf("one more than tolerated failed: %v", state)
	}
	if state, ended := r.End(ShardJobs, ShardJobs+2); !ended || state != Succeeded {
		t.Errorf("as many as tolerated failed: %v", state)
	}
	if _, again := r.Seal(1); again {
		t.Error("sealed twice")
	}
	empty := Root{Gen: 1}
	empty, _ = empty.Seal(0)
	if state, ended := empty.End(ShardJobs, 0); !ended || state != Succeeded {
		t.Errorf("a group without jobs: %v, ended %v", state, ended)
	}
}

// A group that fails early counts failures of shards that are not full, each once, however often they are told.
func TestGroupFailsEarly(t *testing.T) {
	r := Root{Gen: 1}
	r, _ = r.Seal(2*ShardJobs + 5)
	for _, told := range []struct {
		shard, failed int
		fails         bool // more than two
	}{{0, 1, false}, {0, 1, false}, {1, 1, false}, {0, 0, false}, {2, 1, true}} {
		r, _ = r.Fail(told.shard, told.failed)
		if got := r.Fails(2); got != told.fails {
			t.Errorf("shard %d with %d failures: fails %v, want %v", told.shard, told.failed, got, told.fails)
		}
	}
	r, _ = r.Fill(2, Counts{Succeeded: 3, Failed: 2})
	if got, err := DecodeRoot(r.Encode()); err != nil || !got.Fails(3) || got.Fails(4) {
		t.Errorf("with a shard full: %+v, %v", got, err)
	}
	if _, changed := r.Fail(2, 5); changed {
		t.Error("a full shard fails more")
	}
	if next, changed := r.Publish(7); !changed || next.Published != 7 {
		t.Errorf("%d published", next.Published)
	} else if _, again := next.Publish(7); again {
		t.Error("published twice")
	}
}

// A retry has those pending again that have not succeeded.
func TestShardIsRetried(t *testing.T) {
	s := Shard{Gen: 1}
	s, _ = s.EndAll([]JobEnd{{9, Succeeded}, {0, Failed}, {1, Skipped}, {9, Failed}})
	for _, all := range []bool{false, true} {
		next := s.Retry(2, all)
		c := next.Counts()
		if want := map[bool]int{false: 1, true: 0}[all]; next.Gen != 2 || c.Succeeded != want || c.Ended() != want {
			t.Errorf("all %v: %+v", all, c)
		}
	}
	if c := s.Counts(); c != (Counts{Succeeded: 1, Failed: 1, Skipped: 1}) {
		t.Errorf("it was changed: %+v", c)
	}
}

func TestSkippedJobsFailAGroup(t *testing.T) {
	r := Root{Gen: 1}
	r, _ = r.Seal(2)
	r, _ = r.Fill(0, Counts{Succeeded: 1, Skipped: 1})
	if state, ended := r.End(ShardJobs, 9); !ended || state != Failed {
		t.Errorf("%v, ended %v", state, ended)
	}
}

// Payloads come back in their order, whatever documents they were stored in.
func TestItems(t *testing.T) {
	long := []byte(`"` + strings.Repeat("x", itemsPerFile) + `"`)
	var items Items
	var want []string
	for n := range 20_000 {
		payload := fmt.Appendf(nil, `{"n":%d}`, n)
		if n == 100 || n == 101 {
			payload = long
		}
		if n == 7 {
			payload = nil
		}
		if err := items.Add("g", payload); err != nil {
			t.Fatal(err)
		}
		want = append(want, cmp.Or(string(payload), "null"))
	}
	if got := items.Close(); got != len(want) || len(items.Documents) < 4 {
		t.Fatalf("%d in %d documents", got, len(items.Documents))
	}
	var got []string
	for _, data := range items.Documents {
		d, err := DecodeItems(data)
		if err != nil || d.First != len(got) {
			t.Fatalf("from %d on, want %d: %v", d.First, len(got), err)
		}
		for _, item := range d.Items {
			got = append(got, string(item))
		}
	}
	if !slices.Equal(got, want) {
		t.Error("they are others")
	}
	for _, bad := range []string{"", "{}", `{"first":-1,"items":[1]}`, `{"first":0,"items":[]}`} {
		if _, err := DecodeItems([]byte(bad)); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestMemberOfGroup(t *testing.T) {
	for _, m := range []Member{{"w", "r", 1, 2, 3, false}, {"w", "r", 1, 2, 3, true}, {"w", "r", 1, 2, -1, false}} {
		if got, err := ParseMember(m.String()); got != m || err != nil {
			t.Errorf("%+v becomes %+v: %v", m, got, err)
		}
	}
	for _, bad := range []string{"w/r/1/2/again", "w/r/1/2/3/again/again", "w/r/1/2/3/twice"} {
		if _, err := ParseMember(bad); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
	if m := (Member{"w", "r", 1, 2, 30, true}); !strings.HasPrefix(m.String(), m.Group()) || strings.HasPrefix(Member{"w", "r", 1, 20, 3, false}.String(), m.Group()) {
		t.Errorf("%s and %s", m, m.Group())
	}
}
