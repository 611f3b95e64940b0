package main

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestPayload(t *testing.T) {
	sent := time.Unix(1_700_000_000, 123_456_789)
	b := newPayload(1234567, sent)
	if len(b) != payloadSize {
		t.Errorf("%d bytes, want %d", len(b), payloadSize)
	}
	n, at, err := readPayload(b)
	if n != 1234567 || at != sent.UnixNano() || err != nil {
		t.Errorf("readPayload(%s) = %d, %d, %v", b, n, at, err)
	}
	if _, _, err := readPayload(b[1:]); err == nil {
		t.Error("a payload cut short is read")
	}
}

func TestRecorder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		recorder := newRecorder(10)
		begin := time.Now()
		for i, n := range []int{3, 8, 9} {
			payload := newPayload(n, time.Now())
			time.Sleep(time.Duration(i+1) * time.Second) // from enqueue to start
			if err := recorder.start(payload); err != nil {
				t.Fatal(err)
			}
			recorder.end()
		}
		if err := recorder.start(newPayload(10, begin)); err == nil {
			t.Error("a job beyond the last is accepted")
		}
		got := recorder.score(scoreOptions{Mark: 2})
		if got.Jobs != 3 || got.Again != 0 || got.P50 != 2*time.Second || got.P99 != 3*time.Second {
			t.Errorf("score = %+v", got)
		}
		if first, mark, last := got.First-begin.UnixNano(), got.Mark-begin.UnixNano(), got.Last-begin.UnixNano(); first != 1e9 || mark != 3e9 || last != 6e9 {
			t.Errorf("first, mark, last = %d, %d, %d ns, want 1, 3, 6 s", first, mark, last)
		}
	})
}

func TestCheckAll(t *testing.T) {
	scored := func(again int, jobs ...int) score {
		recorder := newRecorder(20)
		for _, n := range jobs {
			if err := recorder.start(newPayload(n, time.Now())); err != nil {
				t.Fatal(err)
			}
		}
		s := recorder.score(scoreOptions{})
		s.Again += again
		return s
	}
	half, rest := []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 19}, []int{9, 10, 11, 12, 13, 14, 15, 16, 17, 18}
	for _, tt := range []struct {
		name   string
		scores []score
		ok     bool
	}{
		{"all, shared", []score{scored(0, half...), scored(0, rest...)}, true},
		{"one missing", []score{scored(0, half...), scored(0, rest[1:]...)}, false},
		{"one by both", []score{scored(0, half...), scored(0, append(rest, 0)...)}, false},
		{"one twice by one", []score{scored(1, half...), scored(0, rest...)}, false},
		{"one missing, another twice", []score{scored(1, half...), scored(0, rest[1:]...)}, false},
	} {
		if err := checkAll(20, tt.scores); (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	if got := leastShare([]score{scored(0, half...), scored(0, 1, 2)}); got != 2.0*2/12 {
		t.Errorf("leastShare = %v, want a third", got)
	}
}
