package supervisor

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// playSendServer plays the server of the example.
func playSendServer(t *testing.T, c testCase) {
	s := decode[struct {
		MaxRetries int `json:"max_retries"`
		TickMS     int `json:"tick_ms"`
	}](t, c.Setup)
	expect := decode[struct {
		State         sendState
		RetryAttempts int `json:"retry_attempts"`
	}](t, c.Expect)
	attempts := 0
	server, err := newSendServer(s.MaxRetries, time.Duration(s.TickMS)*time.Millisecond, func(email string) error {
		if email == "konnichiwa@world.com" {
			attempts++
			return errBoom
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	start(t, server)
	for _, email := range []string{"hello@world.com", "aloha@world.com", "konnichiwa@world.com"} {
		if err := server.Cast(t.Context(), send{email}); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(5*time.Duration(s.TickMS)*time.Millisecond + time.Millisecond)
	synctest.Wait()
	got, err := Call(t.Context(), server, func(r Reply[sendState]) sendMessage { return state{r} })
	if diff := cmp.Diff(expect.State, got); diff != "" || err != nil {
		t.Errorf("state (-want +got):\n%s\n%v", diff, err)
	}
	if attempts-1 != expect.RetryAttempts {
		t.Errorf("retries = %d, want %d", attempts-1, expect.RetryAttempts)
	}
}

func playSendServerDefault(t *testing.T, c testCase) {
	want := decode[struct{ State sendState }](t, c.Expect).State
	server, err := newSendServer(0, time.Second, func(string) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	start(t, server)
	got, err := Call(t.Context(), server, func(r Reply[sendState]) sendMessage { return state{r} })
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("state (-want +got):\n%s\n%v", diff, err)
	}
}
