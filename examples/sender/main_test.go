package main

import (
	"strings"
	"testing"
)

func TestRun(t *testing.T) {
	var out strings.Builder
	if err := run(t.Context(), &out); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	const want = `await:     delivered to hello@world.com
poll:      done false
poll:      done true, delivered to slow@world.com
cancel:    its worker was told: true; with a grace of 1m0s it is succeeded
cancel:    its worker was told: true; with a grace of 0s it is cancelled
ordered:   delivered to hello@world.com
ordered:   konnichiwa@world.com: dead, permanent
ordered:   delivered to hola@world.com
ordered:   delivered to nihao@world.com
unordered: delivered to hola@world.com
unordered: delivered to nihao@world.com
unordered: delivered to aloha@world.com
unordered: delivered to slow@world.com
timeout:   delivered to hello@world.com
timeout:   slow@world.com: millhand: job timed out
timeout:   delivered to hola@world.com
left:      delivered to hello@world.com
           1 of 5 mails were sent
`
	if out.String() != want {
		t.Errorf("it says:\n%swant:\n%s", &out, want)
	}
}
