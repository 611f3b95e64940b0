package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	visit   = 8 * time.Minute
	aSecond = 10 // clicks
)

// click makes the stream CLICKS and stores clicks in the order in which they come in.
func click(ctx context.Context, nc *nats.Conn) error {
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	s, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "CLICKS", Subjects: []string{"clicks.*"}})
	if err != nil {
		return err
	}
	clicks := people()
	for _, c := range clicks {
		data, err := json.Marshal(c)
		if err != nil {
			return err
		}
		if _, err := js.PublishAsync("clicks."+c.Page, data); err != nil {
			return err
		}
	}
	select {
	case <-js.PublishAsyncComplete():
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	info, err := s.Info(ctx)
	if err == nil && info.State.Msgs != uint64(len(clicks)) {
		err = fmt.Errorf("%d of %d clicks were stored", info.State.Msgs, len(clicks))
	}
	return err
}

// people returns the same clicks each time. One in two hundred comes two minutes late, one in two thousand ten.
func people() []Click {
	type arrival struct {
		Click
		came time.Time
	}
	dice := rand.New(rand.NewPCG(1, 2))
	noon := time.Date(2026, time.March, 2, 12, 0, 0, 0, time.UTC)
	var all []arrival
	for i := range int(visit/time.Second) * aSecond {
		at := noon.Add(time.Duration(i) * time.Second / aSecond)
		a := arrival{Click{[]string{"home", "home", "pricing"}[dice.IntN(3)], at}, at.Add(time.Duration(dice.IntN(2000)) * time.Millisecond)}
		switch n := dice.IntN(2000); {
		case n == 0:
			a.came = at.Add(10 * time.Minute)
		case n <= 10:
			a.came = at.Add(2 * time.Minute)
		}
		all = append(all, a)
	}
	slices.SortStableFunc(all, func(a, b arrival) int { return a.came.Compare(b.came) })
	clicks := make([]Click, len(all))
	for i, a := range all {
		clicks[i] = a.Click
	}
	return clicks
}
