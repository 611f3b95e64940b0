package main

import (
	"strings"
	"testing"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

func TestActor(t *testing.T) {
	for _, c := range []struct{ known, claimed, want string }{
		{"", "", "root (cli)"},
		{"", "deploy-bot", "deploy-bot (cli)"},
		{"ops", "", "ops"},
		{"ops", "ann", "ops (ann)"},
		{"ops", "ops", "ops"},
	} {
		if got := actor(c.known, c.claimed, "root"); got != c.want {
			t.Errorf("actor(%q, %q) = %q, want %q", c.known, c.claimed, got, c.want)
		}
	}
	for _, bad := range []string{"two\nlines", strings.Repeat("x", maxBy+1)} {
		if checkBy(bad) == nil {
			t.Errorf("checkBy(%q) has nothing against it", bad)
		}
	}
}

// Whoever the broker lets in has a name, whatever it is let in by.
func TestBrokerUser(t *testing.T) {
	account, err := nkeys.CreateAccount()
	if err != nil {
		t.Fatal(err)
	}
	key, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	public, err := key.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	token := func(name string) nats.UserJWTHandler {
		claims := jwt.NewUserClaims(public)
		claims.Name = name
		text, err := claims.Encode(account)
		return func() (string, error) { return text, err }
	}
	for name, c := range map[string]struct {
		options nats.Options
		url     string
		want    string
	}{
		"user":                     {nats.Options{User: "ann"}, "nats://h:1", "ann"},
		"user of the URL":          {nats.Options{}, "nats://ann:secret@h:1,nats://h:2", "ann"},
		"token of the URL":         {nats.Options{}, "nats://secret@h:1", ""},
		"credentials":              {nats.Options{UserJWT: token("ann")}, "nats://h:1", "ann"},
		"credentials without name": {nats.Options{UserJWT: token("")}, "nats://h:1", public},
		"nkey":                     {nats.Options{Nkey: public}, "nats://h:1", public},
		"nobody":                   {nats.Options{}, "nats://h:1", ""},
	} {
		if got := brokerUser(&c.options, c.url); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
