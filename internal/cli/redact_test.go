package cli

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"strings"
	"syscall"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/spf13/pflag"
	"pgregory.net/rapid"
)

func TestRedact(t *testing.T) {
	for urls, want := range map[string]string{
		"a:4222":                              "a:4222",
		"nats://a:4222, tls://b":              "nats://a:4222,tls://b",
		"nats://[::1]:4222":                   "nats://[::1]:4222",
		"user:hunter2@127.0.0.1:1":            "xxxxx@127.0.0.1:1",
		"s3crettoken@a":                       "xxxxx@a",
		"nats://token@a:1":                    "nats://xxxxx@a:1",
		"NATS://user:hunter2@a":               "nats://xxxxx@a",
		"nats://u:secret@a:1,b:2,c:3":         "nats://xxxxx@a:1,b:2,c:3",
		"nats://u:secret@a:1,tls://token@b":   "nats://xxxxx@a:1,tls://xxxxx@b",
		"nats://u:secret@a:1,token@b":         "nats://xxxxx@b", // or a user u, whose password has a comma
		"a:1,b:0ther@c:2":                     "xxxxx@c:2",
		"nats://a,nats://b:0ther@c":           "nats://xxxxx,nats://xxxxx@c",
		"nats://u:hun/ter2@a":                 "nats://xxxxx@a",
		"nats://u:hun#ter2@a":                 "nats://xxxxx@a",
		"nats://u:hun?ter2@a":                 "nats://xxxxx@a",
		"nats://u:hun@ter2@a":                 "nats://xxxxx@a",
		"nats://u:hun,ter2@a":                 "nats://xxxxx@a",
		"u:hun://ter2@a":                      "xxxxx@a",
		"nats://u:hunter2":                    "nats://xxxxx", // a host was forgotten
		"http://u:s3cret@h/x?key=s3cret#frag": "http://xxxxx@h/x",
		"ftp://u:s3cret@x/":                   "xxxxx@x/",
		"":                                    "",
	} {
		if got := Redact(urls); got != want {
			t.Errorf("Redact(%q) = %q, want %q", urls, got, want)
		}
	}
}

// Whatever a password looks like, wherever it stands, and whether or not the URL can be
// used: no part of it is in what either command writes about its connection.
func TestNoPasswordIsShown(t *testing.T) {
	isolate(t, nil)
	rapid.Check(t, func(t *rapid.T) {
		secret := rapid.StringMatching(`[a-z0-9/#?,@:%&=+ \\"'\[\]\t.-]{4,24}`).Draw(t, "secret")
		address := rapid.SampledFrom([]string{"127.0.0.1:1", "[::1]:1", "QQ.QQ", "QQ"}).Draw(t, "address") // no secret has capitals
		entry := rapid.SampledFrom([]string{"", "nats://", "tls://", "ws://", "WSS://", "http://", "QQQ://"}).Draw(t, "scheme") +
			rapid.SampledFrom([]string{"Q:" + secret, secret, secret + ":Q", ":" + secret}).Draw(t, "user") + "@" + address
		before := rapid.SampledFrom([]string{"", "QQ:1,", "nats://QQ:1, ", "nats://Q:Q@QQ:1,"}).Draw(t, "before")
		after := rapid.SampledFrom([]string{"", ",QQ:2", ",nats://QQ:2", ",", "/", "?Q=Q"}).Draw(t, "after")

		for _, text := range said(before + entry + after) {
			if part := partOf(secret, text); part != "" {
				t.Fatalf("%q shows %q of the password", text, part)
			}
		}
	})
}

// said is all that the commands write of a connection to servers that nothing listens at.
func said(servers string) []string {
	texts := []string{Redact(servers), Target{URL: servers}.String()}
	add := func(err error) {
		if err != nil {
			texts = append(texts, err.Error())
		}
	}
	var flags ConnFlags
	flags.Register(pflag.NewFlagSet("", pflag.ContinueOnError))
	*flags.values[flagServer] = servers
	_, err := flags.Target()
	add(err)
	for _, reason := range []error{syscall.ECONNREFUSED, nil} {
		_, err = Target{URL: servers}.Connect(context.Background(), nats.DontRandomize(), noNetwork(reason))
		add(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var log bytes.Buffer
	_, err = Target{URL: servers}.ConnectWorker(ctx, slog.New(slog.NewTextHandler(&log, nil)), noNetwork(nil), nats.ErrorHandler(nil),
		func(*nats.Options) error { cancel(); return nil })
	add(err)
	return append(texts, log.String())
}

// noNetwork makes every host refuse a connection, or if reason is nil be unknown, with the
// errors of package net, which quote what was dialled.
func noNetwork(reason error) nats.Option {
	return nats.SetCustomDialer(dialFunc(func(network, address string) (net.Conn, error) {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		if reason == nil {
			reason = &net.DNSError{Err: "no such host", Name: host, Server: "127.0.0.53:53", IsNotFound: true}
		}
		return nil, &net.OpError{Op: "dial", Net: network, Addr: named(address), Err: reason}
	}))
}

// named is an address.
type named string

func (named) Network() string  { return "tcp" }
func (n named) String() string { return string(n) }

// partOf returns four characters in a row of secret that are in text, or none. What our
// texts say anyway does not count.
func partOf(secret, text string) string {
	const own = `in a user, password or token write / as %2F, ? as %3F, # as %23, , as %2C, @ as %40 and % as %25 ` +
		`the URL must begin with nats://, tls://, ws:// or wss://, not http:// connect to connection refused; nothing listens there; ` +
		`start a worker or a nats-server, or name another with --server invalid port: want a number from 1 to 65535 127.0.0.1:1 [::1]:1 ` +
		`not found; check no such host character in xxxxx the URL has cannot be used: server's`
	for i := 0; i+4 <= len(secret); i++ {
		if part := secret[i : i+4]; strings.Contains(text, part) && !strings.Contains(own, part) {
			return part
		}
	}
	return ""
}
