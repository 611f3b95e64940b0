package queue

import "testing"

func TestPartCovers(t *testing.T) {
	for _, c := range []struct {
		part, subject string
		want          bool
	}{
		{"m.q.ready.email.*", "m.q.ready.email.1", true},
		{"m.q.ready.email.*", "m.q.ready.sms.1", false},
		{"m.q.ready.email.*", "m.q.ready.email", false},
		{"m.q.ready.email.*", "m.q.ready.email.1.2", false},
		{"m.q.ready.*.*", "m.q.ready.sms.1", true},
		{">", "m.q.pin", true},
		{"m.>", "m", false},
	} {
		if got := (Part{Subject: c.part}).Covers(c.subject); got != c.want {
			t.Errorf("%s of %s: %v", c.subject, c.part, got)
		}
	}
}
