package stages_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing/synctest"

	"github.com/millhand/millhand/internal/stages"
	"github.com/millhand/millhand/internal/supervisor"
)

func fromSeq(s *scene) {
	var last int
	_, err := fmt.Sscanf(s.Steps[len(s.Steps)-1], "subscribe a transient consumer to 1..%d", &last)
	if s.tells("consumer", "alive, got cancel (down,normal)"); err != nil || len(s.Steps) != 2 {
		s.Fatalf("unknown steps %q", s.Steps)
	}
	s.want("source_after", "ended normal")
	var source []int
	if err := json.Unmarshal(s.Setup["source"], &source); err != nil {
		s.Fatal(err)
	}
	p := must(stages.FromSeq(slices.Values(source), stages.ProducerConfig[int]{}))
	producing := s.start(p)
	var streamed []int
	for event, err := range stages.Stream(s.Context(), p, stages.SubscribeOptions[int]{MaxDemand: 2}) {
		if err != nil {
			s.Error(err)
		}
		streamed = append(streamed, event)
	}
	s.want("streamed", streamed)
	synctest.Wait()
	if !producing.ended() || producing.result() != nil {
		s.Error("the source has not ended normally")
	}

	c := s.consumer("c")
	five := must(stages.FromSeq(slices.Values(numbers(1, last)), stages.ProducerConfig[any]{}))
	must(c.Subscribe(five, stages.SubscribeOptions[any]{Cancel: stages.Transient}))
	s.start(five)
	log := s.happened()
	s.same("transient consumer", []entry{{"batch", "c", numbers(1, last)}, {"done", "c"}, {"ccancel", "c", "<nil>"}}, log)
	if c.run.ended() {
		s.Error("the transient consumer ended with its source")
	}
}

// streamHalt: whoever leaves the loop has cancelled, which ends only a producer that wants it so.
func streamHalt(s *scene) {
	var most, take int
	if _, err := fmt.Sscanf(s.text("source"), "1..%d", &most); err != nil {
		s.Fatalf("unknown source %q", s.text("source"))
	}
	if _, err := fmt.Sscanf(s.Steps[0], "take %d", &take); err != nil || len(s.Steps) > 1 {
		s.Fatalf("unknown steps %q", s.Steps)
	}
	o := stages.SubscribeOptions[any]{MaxDemand: s.number("max_demand")}
	for _, endOnCancel := range []bool{false, true} {
		p := must(stages.FromSeq(slices.Values(numbers(1, most)), stages.ProducerConfig[any]{EndOnCancel: endOnCancel}))
		r := s.start(p)
		taken := []any{}
		for event, err := range stages.Stream(s.Context(), p, o) {
			if err != nil {
				s.Error(err)
			}
			if taken = append(taken, event); len(taken) == take {
				break
			}
		}
		s.want("taken", taken)
		synctest.Wait()
		if r.ended() != endOnCancel {
			s.Errorf("EndOnCancel %v: ended = %v", endOnCancel, r.ended())
		}
	}
	s.want("producer", "alive")
}

// wrongOption are options that Subscribe refuses. A zero MaxDemand is none; and a producer has nothing to
// subscribe with.
const wrongDemand = `(?:max (-?\d+))?(?: ?min (-?\d+))?(?: \(max (\d+)\))?`

var wrongOption = regexp.MustCompile("^" + wrongDemand + "$")

// optionError are OTP's words for what is one error here.
var optionError = regexp.MustCompile(`^(?:max_demand >= 1|min_demand (?:>= 0|<= (?:max-1|max_demand-1|\d+))|cancel in temporary\|transient\|permanent|not_a_consumer)$`)

func subscribeErrors(s *scene) {
	var errs []string
	if err := json.Unmarshal(s.Expect.parts["errors"], &errs); err != nil || len(errs) != len(s.Steps) {
		s.Fatalf("%d errors of %d steps, %v", len(errs), len(s.Steps), err)
	}
	for _, text := range errs {
		if !optionError.MatchString(text) {
			s.Fatalf("unknown error %q", text)
		}
	}
	p := s.producer("p", nil, stages.OutletConfig[any]{})
	c := s.consumer("c")
	for _, step := range s.Steps {
		var o stages.SubscribeOptions[any]
		m := wrongOption.FindStringSubmatch(step)
		switch {
		case m != nil:
			if maxDemand := m[1] + m[3]; maxDemand != "" {
				o.MaxDemand = cmp.Or(must(strconv.Atoi(maxDemand)), -1)
			}
			if m[2] != "" {
				o.MinDemand = new(must(strconv.Atoi(m[2])))
			}
		case strings.HasPrefix(step, "cancel "):
			if _, known := modes[strings.TrimPrefix(step, "cancel ")]; known {
				s.Fatalf("%q is no error", step)
			}
			o.Cancel = stages.Temporary + 1
		case step == "producer subscribes":
			continue
		default:
			s.Fatalf("unknown step %q", step)
		}
		if _, err := c.Subscribe(p, o); !errors.Is(err, stages.ErrInvalidOption) {
			s.Errorf("Subscribe(%+v) = %v, want ErrInvalidOption", o, err)
		}
	}
	s.same("what the stages saw", []entry{}, s.happened())
}

// modes are the words for what the end of a subscription means.
var modes = map[string]stages.Mode{
	"": stages.Temporary, "permanent": stages.Permanent, "transient": stages.Transient, "temporary": stages.Temporary,
}

func subscribeMissing(s *scene) {
	var want []string
	if err := json.Unmarshal(s.Expect.parts["consumer"], &want); err != nil || len(want) != len(s.Steps) {
		s.Fatalf("%d fates of %d steps, %v", len(want), len(s.Steps), err)
	}
	p := s.idleProducer("p", nil, stages.OutletConfig[any]{})
	s.start(p).stop()
	synctest.Wait()
	for i, step := range s.Steps {
		mode, known := modes[step]
		if !known {
			s.Fatalf("unknown step %q", step)
		}
		c := s.consumer("c")
		must(c.Subscribe(p, stages.SubscribeOptions[any]{Cancel: mode}))
		synctest.Wait()
		got := "alive"
		if c.run.ended() && errors.Is(c.run.result(), stages.ErrNotRunning) {
			got = "exit noproc"
		}
		if got != want[i] {
			s.Errorf("%s: %s, want %s", step, got, want[i])
		}
	}
}

var (
	errBoom      = errors.New("boom")
	errShutdownX = fmt.Errorf("%w: x", supervisor.ErrShutdown)
)

// ending is a producer that ends for a reason when it is asked for something.
func ending(s *scene, reason string) *stages.Producer[any] {
	results := map[string]error{
		"normal": stages.ErrDone, "shutdown": supervisor.ErrShutdown, "shutdown_x": errShutdownX, "boom": errBoom,
	}
	if results[reason] == nil && reason != "kill" {
		s.Fatalf("unknown reason %q", reason)
	}
	p := must(stages.NewProducer(stages.ProducerConfig[any]{Demand: func(context.Context, int, []any) ([]any, error) {
		if reason == "kill" {
			panic("kill")
		}
		return nil, results[reason]
	}}))
	s.start(p)
	return p
}

// fate says what became of a consumer.
func fate(r *run) string {
	switch {
	case !r.ended():
		return "alive"
	case r.result() == nil:
		return "normal"
	case errors.Is(r.result(), errShutdownX):
		return "shutdown_x"
	case errors.Is(r.result(), supervisor.ErrShutdown):
		return "shutdown"
	case errors.Is(r.result(), stages.ErrCrashed):
		return "killed"
	}
	return r.result().Error()
}

const cancelWords = `cancel|producer_ends|explicit_cancel|always|producer ends with reason|or: subscription cancelled with reason`

func cancelModes(s *scene) {
	mode, known := modes[s.text("cancel")]
	if !known {
		s.Fatalf("unknown cancel %q", s.text("cancel"))
	}
	if s.Expect.parts["always"] != nil {
		s.tells("always", "consumer cancel callback runs first: (down,reason) or (cancel,reason)")
	}
	type row struct {
		Reason, Consumer string
		CancelReason     string `json:"cancel_reason"`
	}
	rows := func(key string) (rows []row) {
		if raw := s.Expect.parts[key]; raw != nil {
			if err := json.Unmarshal(raw, &rows); err != nil {
				s.Fatal(err)
			}
		}
		return rows
	}
	for _, row := range rows("producer_ends") {
		c := s.consumer("c")
		must(c.Subscribe(ending(s, row.Reason), stages.SubscribeOptions[any]{Cancel: mode}))
		if log := s.happened(); len(only(log, "ccancel")) != 1 {
			s.Errorf("producer ended %s: consumer was told %v", row.Reason, log)
		}
		if got := fate(c.run); got != row.Consumer {
			s.Errorf("producer ended %s: consumer is %s, want %s", row.Reason, got, row.Consumer)
		}
	}
	reasons := map[string]error{"normal": nil, "shutdown": supervisor.ErrShutdown, "shutdown_x": errShutdownX, "boom": errBoom}
	for _, row := range rows("explicit_cancel") {
		reason, known := reasons[row.CancelReason]
		if !known {
			s.Fatalf("unknown reason %q", row.CancelReason)
		}
		c := s.consumer("c")
		sub := must(c.Subscribe(s.producer("p", nil, stages.OutletConfig[any]{}), stages.SubscribeOptions[any]{Cancel: mode}))
		synctest.Wait()
		sub.Cancel(reason)
		if log := s.happened(); len(only(log, "ccancel")) != 1 {
			s.Errorf("cancelled with %s: consumer was told %v", row.CancelReason, log)
		}
		if got := fate(c.run); got != row.Consumer {
			s.Errorf("cancelled with %s: consumer is %s, want %s", row.CancelReason, got, row.Consumer)
		}
	}
}

// unknownSubscription: handles exclude references nobody knows, and one reference for two
// subscriptions. What remains is an Ask on a subscription that has ended: the demand comes back.
func unknownSubscription(s *scene) {
	var answers []string
	for _, step := range s.Steps {
		answers = append(answers, map[bool]string{true: "cancel duplicated_subscription", false: "cancel unknown_subscription"}[strings.HasPrefix(step, "subscribe")])
	}
	s.want("answers", answers)
	returned := 0
	c := must(stages.NewConsumer(stages.ConsumerConfig[any]{
		Hooks:  stages.Hooks[any]{OnReturn: func(_ *stages.Subscription[any], n int) { returned += n }},
		Handle: func(context.Context, []any) error { return nil },
	}))
	s.start(c)
	p := s.producer("p", nil, stages.OutletConfig[any]{})
	sub := must(c.Subscribe(p, stages.SubscribeOptions[any]{Manual: true, Cancel: stages.Temporary}))
	synctest.Wait()
	sub.Ask(2)
	synctest.Wait()
	sub.Cancel(nil)
	synctest.Wait()
	if returned != 2 {
		s.Errorf("cancelling returned %d, want the 2 that were asked for", returned)
	}
	sub.Ask(3)
	synctest.Wait()
	if returned != 5 {
		s.Errorf("returned = %d after an ask on an ended subscription, want 5", returned)
	}
}
