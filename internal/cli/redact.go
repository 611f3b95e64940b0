package cli

import (
	"strconv"
	"strings"
)

// hidden stands for a user, a password or a token.
const hidden = "xxxxx"

// Redact returns a URL, or several with commas, as it may be shown. Of each it keeps the
// scheme and what follows the last @, without query and fragment. A password that was not
// percent-encoded may hold any character, also those that end the part of a URL in which
// a parser would look for it, so nothing is shown that could be a part of one: with a
// comma in it, even what looks like a server before it.
func Redact(urls string) string {
	last := strings.LastIndexByte(urls, '@')
	var shown []string
	for start := 0; start < len(urls); {
		end := start + groupLen(urls[start:])
		scheme, rest := cutScheme(strings.TrimSpace(urls[start:end]))
		at := strings.LastIndexByte(rest, '@')
		switch {
		case at >= 0:
			rest = hidden + "@" + shownHosts(rest[at+1:])
		case start < last:
			rest = hidden
		default:
			rest = shownHosts(rest)
		}
		shown = append(shown, scheme+rest)
		start = end + len(",")
	}
	return strings.Join(shown, ",")
}

// withoutPasswords is a text in which arguments may be quoted, those with a password as they
// may be shown: a URL that came to a wrong place is an error like any other typo.
func withoutPasswords(text string, args []string) string {
	for _, arg := range args {
		_, value, _ := strings.Cut(arg, "=") // of a flag
		for _, secret := range []string{arg, value} {
			colon, at := strings.IndexByte(secret, ':'), strings.LastIndexByte(secret, '@')
			if colon < 0 || at < colon {
				continue
			}
			shown, quoted := Redact(secret), strconv.Quote(secret)
			text = strings.ReplaceAll(text, secret, shown)
			text = strings.ReplaceAll(text, quoted[1:len(quoted)-1], shown)
		}
	}
	return text
}

// groupLen is the length of what urls begins with, up to the comma before the next entry
// that has a scheme. Entries without one could be parts of a password.
func groupLen(urls string) int {
	for i := range urls {
		if urls[i] != ',' {
			continue
		}
		if scheme, _ := cutScheme(strings.TrimSpace(urls[i+1:])); scheme != "" {
			return i
		}
	}
	return len(urls)
}

// cutScheme returns the scheme that s begins with, if it is one that we know, and the rest.
func cutScheme(s string) (scheme, rest string) {
	for _, known := range []string{"nats://", "tls://", "ws://", "wss://", "http://", "https://"} {
		if len(s) >= len(known) && strings.EqualFold(s[:len(known)], known) {
			return known, s[len(known):]
		}
	}
	return "", s
}

// shownHosts returns hosts with ports and paths, of which it hides those that cannot be.
func shownHosts(list string) string {
	var shown []string
	for entry := range strings.SplitSeq(list, ",") {
		entry = strings.TrimSpace(entry)
		if end := strings.IndexAny(entry, "?#"); end >= 0 {
			entry = entry[:end]
		}
		authority, _, _ := strings.Cut(entry, "/")
		if !isAuthority(authority) || strings.ContainsFunc(entry, isStrange) {
			entry = hidden
		}
		shown = append(shown, entry)
	}
	return strings.Join(shown, ",")
}

// isAuthority reports whether s is a host, with or without a port.
func isAuthority(s string) bool {
	port := s[strings.LastIndexByte(s, ']')+1:] // after an IPv6 address
	_, port, _ = strings.Cut(port, ":")
	return !strings.ContainsFunc(port, func(r rune) bool { return r < '0' || r > '9' })
}

func isStrange(r rune) bool {
	return r <= ' ' || r >= 0x7f || strings.ContainsRune(`"'&=+\<>^{|}`+"`", r)
}
