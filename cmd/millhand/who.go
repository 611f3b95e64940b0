package main

import (
	"cmp"
	"net/url"
	"os"
	"os/user"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"

	"github.com/millhand/millhand/internal/cli"
)

// byVariable names who acts where several people or programs share a user.
const byVariable = "MILLHAND_BY"

const maxBy = 64

// nameConnection names the connection after whoever acts: limits, pauses and orders say so.
func (s *session) nameConnection(o *nats.Options) error {
	s.by = actor(brokerUser(o, s.target.URL), os.Getenv(byVariable), osUser())
	o.Name = s.by
	return nil
}

// checkBy refuses a name that would not be one line in lists.
func checkBy(claimed string) error {
	if utf8.RuneCountInString(claimed) > maxBy || strings.ContainsFunc(claimed, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return cli.Usagef("%s: want a name of at most %d characters that can be printed", byVariable, maxBy)
	}
	return nil
}

// actor is who acts, as others see it: the user that the broker knows, with what is claimed behind it in
// brackets. Nobody has checked a name that has (cli) behind it.
func actor(known, claimed, local string) string {
	switch {
	case known == "":
		return cmp.Or(claimed, local) + " (cli)"
	case claimed != "" && claimed != known:
		return known + " (" + claimed + ")"
	}
	return known
}

// brokerUser is the user as whom the broker lets the connection in, empty if it is nobody in particular.
func brokerUser(o *nats.Options, servers string) string {
	if o.User != "" {
		return o.User
	}
	if o.UserJWT != nil {
		token, err := o.UserJWT()
		if err != nil {
			return "" // nor is the connection made
		}
		claims, err := jwt.DecodeUserClaims(token)
		if err != nil {
			return ""
		}
		return cmp.Or(claims.Name, claims.Subject)
	}
	if o.Nkey != "" {
		return o.Nkey
	}
	first, _, _ := strings.Cut(servers, ",")
	if u, err := url.Parse(first); err == nil && u.User != nil {
		if _, hasPassword := u.User.Password(); hasPassword { // else it is a token
			return u.User.Username()
		}
	}
	return ""
}

func osUser() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return cmp.Or(os.Getenv("USER"), "unknown")
}
