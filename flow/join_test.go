package flow_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millhand/millhand/flow"
)

type Order struct {
	ID string
	At time.Time
}

type Payment struct {
	OrderID string
	Cents   int
	At      time.Time
}

// Orders that were not paid within their hour.
func ExampleJoin() {
	at := func(clock string) time.Time {
		t, err := time.Parse(time.DateTime, "2026-11-28 "+clock)
		if err != nil {
			panic(err)
		}
		return t
	}
	orders := flow.From(slices.Values([]Order{{"a", at("12:05:00")}, {"b", at("12:10:00")}, {"c", at("13:01:00")}}))
	payments := flow.From(slices.Values([]Payment{{"a", 500, at("12:07:00")}, {"c", 700, at("13:30:00")}, {"b", 900, at("14:00:00")}}))
	joined := flow.Join(flow.Left,
		flow.By(orders, func(o Order) string { return o.ID }),
		flow.By(payments, func(p Payment) string { return p.OrderID }),
		flow.JoinWindow[Order, Payment]{
			Size: time.Hour, Late: 10 * time.Minute,
			LeftAt: func(o Order) time.Time { return o.At }, RightAt: func(p Payment) time.Time { return p.At },
		})
	unpaid := joined.Filter(func(j flow.Joined[Order, Payment]) bool { return !j.HasRight })
	for j, err := range unpaid.All(context.Background()) {
		fmt.Println("unpaid:", j.Left.ID, err)
	}
	// Output: unpaid: b <nil>
}

func pairs(t *testing.T, s flow.Stream[flow.Joined[int, int]]) []string {
	t.Helper()
	all := collect(t, flow.Map(s, func(j flow.Joined[int, int]) string {
		left, right := "-", "-"
		if j.HasLeft {
			left = strconv.Itoa(j.Left)
		}
		if j.HasRight {
			right = strconv.Itoa(j.Right)
		}
		return left + " " + right
	}))
	slices.Sort(all)
	return all
}

func TestJoin(t *testing.T) {
	left := flow.By(flow.From(slices.Values([]int{0, 1, 2, 3, 11})), func(n int) int { return n % 10 })
	right := flow.By(flow.From(slices.Values([]int{4, 5, 6, 7, 8})), func(n int) int { return n - 3 })
	for kind, want := range map[flow.JoinKind][]string{
		flow.Inner: {"1 4", "11 4", "2 5", "3 6"},
		flow.Left:  {"0 -", "1 4", "11 4", "2 5", "3 6"},
		flow.Right: {"- 7", "- 8", "1 4", "11 4", "2 5", "3 6"},
		flow.Full:  {"- 7", "- 8", "0 -", "1 4", "11 4", "2 5", "3 6"},
	} {
		for _, partitions := range []int{0, 1, 3} {
			same(t, pairs(t, flow.Join(kind, left.Partitions(partitions), right)), want...)
			same(t, pairs(t, flow.Join(kind, left, right.Partitions(partitions)).Named("pairs")), want...)
		}
	}
}

func TestJoinWindow(t *testing.T) {
	at := func(n int) time.Time { return time.UnixMilli(int64(n)) }
	all := func(int) int { return 0 }
	left, right := make(chan int), make(chan int)
	synctest.Test(t, func(t *testing.T) {
		left, right = make(chan int), make(chan int)
		var late []int
		w := flow.JoinWindow[int, int]{
			Size: 10 * ms, Delay: ms, IdleAfter: time.Hour, LeftAt: at, RightAt: at,
			OnLateLeft: func(n int) { late = append(late, n) }, OnLateRight: func(n int) { late = append(late, -n) },
		}
		go func() {
			left <- 1
			right <- 2
			right <- 3
			left <- 21
			synctest.Wait() // nothing of the right side is beyond the first window
			right <- 5
			right <- 22
			synctest.Wait()
			right <- 6 // too late
			left <- 7
			close(left)
			close(right)
		}()
		got := pairs(t, flow.Join(flow.Full, flow.By(flow.FromChan(left), all).Partitions(1), flow.By(flow.FromChan(right), all), w))
		same(t, got, "1 2", "1 3", "1 5", "21 22")
		slices.Sort(late)
		same(t, late, -6, 7)
	})
}

func TestJoinRefused(t *testing.T) {
	keyed := flow.By(flow.From(upTo(1)), func(n int) int { return n })
	at := func(int) time.Time { return time.Time{} }
	w := flow.JoinWindow[int, int]{Size: time.Second, LeftAt: at, RightAt: at}
	for want, s := range map[string]flow.Stream[flow.Joined[int, int]]{
		"kind 7":                 flow.Join(7, keyed, keyed),
		"2 partitions with 3":    flow.Join(flow.Inner, keyed.Partitions(2), keyed.Partitions(3)),
		"one window, or none":    flow.Join(flow.Inner, keyed, keyed, w, w),
		"needs LeftAt":           flow.Join(flow.Inner, keyed, keyed, flow.JoinWindow[int, int]{Size: time.Second}),
		"a Fixed window of 0s":   flow.Join(flow.Inner, keyed, keyed, flow.JoinWindow[int, int]{LeftAt: at, RightAt: at}),
		"not Within of one side": flow.Join(flow.Inner, keyed, keyed.Within(flow.Count[int](3))),
	} {
		if err := s.Run(t.Context()); !errors.Is(err, flow.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", want, err)
		}
	}
}

// The lesser of two limits holds, and the partitions of one side are those of both.
func TestJoinBounds(t *testing.T) {
	key := func(n int) int { return n }
	left := flow.By(flow.From(upTo(20)), key).PartitionBy(func(int) int { return 0 })
	right := flow.By(flow.From(upTo(20)), key)
	if got := pairs(t, flow.Join(flow.Inner, left, right)); len(got) != 20 {
		t.Errorf("%d pairs", len(got))
	}
	for _, s := range []flow.Stream[flow.Joined[int, int]]{
		flow.Join(flow.Inner, left.MaxKeys(10), right.MaxKeys(100)), flow.Join(flow.Inner, left, right.MaxKeys(10)),
	} {
		if err := s.Run(t.Context()); !errors.Is(err, flow.ErrTooManyKeys) {
			t.Errorf("got %v", err)
		}
	}
}
