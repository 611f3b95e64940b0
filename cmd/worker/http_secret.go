package main

import (
	"encoding/base64"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
)

// envPrefix begins a header's value that is that of an environment variable.
const envPrefix = "env:"

// concealer replaces secrets, which a server may repeat in its answer.
func concealer(secrets []string) *strings.Replacer {
	var pairs []string
	for _, s := range secrets {
		if len(s) > 3 { // what is shorter is in every text
			pairs = append(pairs, s, "[secret]")
		}
	}
	return strings.NewReplacer(pairs...)
}

// urlSecrets are what a URL may hold of them, as it is written and as it is sent: a password,
// and the values of the query.
func urlSecrets(u *url.URL) []string {
	var all []string
	if password, ok := u.User.Password(); ok {
		all = append(all, password, base64.StdEncoding.EncodeToString([]byte(u.User.Username()+":"+password)))
	}
	for pair := range strings.SplitSeq(u.RawQuery, "&") {
		_, value, _ := strings.Cut(pair, "=")
		all = append(all, value)
		if plain, err := url.QueryUnescape(value); err == nil {
			all = append(all, plain)
		}
	}
	return all
}

// mayBeSecret reports whether a header's value, though it stands in the configuration, is not
// for everybody who may read of a failure.
func mayBeSecret(header string) bool {
	header = strings.ToLower(header)
	return slices.ContainsFunc([]string{"auth", "key", "token", "secret", "cookie", "password", "signature"}, func(part string) bool {
		return strings.Contains(header, part)
	})
}

// proxySecrets are the addresses of proxies that have a password, which an error may repeat.
func proxySecrets() []string {
	var all []string
	for _, name := range []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"} {
		if value := os.Getenv(name); strings.Contains(value, "@") {
			all = append(all, value)
		}
	}
	return all
}

// resolveHeaders returns the headers of requests, and which of their values are secret.
func resolveHeaders(configured map[string]string) (h http.Header, secrets []string, err error) {
	h = make(http.Header, len(configured))
	for _, name := range slices.Sorted(maps.Keys(configured)) {
		value := configured[name]
		if variable, ok := strings.CutPrefix(value, envPrefix); ok {
			if value, ok = os.LookupEnv(variable); !ok {
				return nil, nil, fmt.Errorf("header %s: the environment has no %s", name, variable)
			}
			if value == "" {
				return nil, nil, fmt.Errorf("header %s: %s is empty in the environment", name, variable)
			}
		}
		if value != configured[name] || mayBeSecret(name) {
			secrets = append(secrets, value)                 // of the environment, or of such a name
			if _, token, ok := strings.Cut(value, " "); ok { // Bearer and the like say nothing
				secrets = append(secrets, strings.TrimSpace(token))
			}
		}
		if !isToken(name) || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
			return nil, nil, fmt.Errorf("header %q: no header can have this name or value", name)
		}
		h.Set(name, value)
	}
	return h, secrets, nil
}

// isToken reports whether s is a token of RFC 9110, as a header's name must be.
func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
	})
}

// shown is a URL without what may be secret in it.
func shown(u *url.URL) string {
	clean := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}
	return clean.String()
}
