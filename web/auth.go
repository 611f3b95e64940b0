package web

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/bcrypt"
	"golang.org/x/time/rate"
)

// A ChallengeError says that whoever asks is to say who they are.
type ChallengeError struct {
	Challenge string // for the header WWW-Authenticate
	Text      string
}

// Error implements error.
func (c *ChallengeError) Error() string { return c.Text }

// A secretFile is read anew when it changes.
type secretFile[T any] struct {
	name  string
	parse func([]byte) (T, error)

	mu      sync.Mutex
	checked time.Time
	changed time.Time
	content T
}

// secretFileEvery is how soon a change of a file is seen.
const secretFileEvery = 2 * time.Second

func openSecrets[T any](name string, parse func([]byte) (T, error)) (*secretFile[T], error) {
	f := &secretFile[T]{name: name, parse: parse}
	_, err := f.get()
	return f, err
}

// get returns what the file says. One that cannot be read any more lets nobody in.
func (f *secretFile[T]) get() (T, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var none T
	if time.Since(f.checked) < secretFileEvery {
		return f.content, nil
	}
	info, err := os.Stat(f.name)
	if err != nil {
		return none, err
	}
	if !info.ModTime().Equal(f.changed) || f.checked.IsZero() {
		b, err := os.ReadFile(f.name)
		if err != nil {
			return none, err
		}
		content, err := f.parse(b)
		if err != nil {
			return none, fmt.Errorf("%s: %w", f.name, err)
		}
		f.content, f.changed = content, info.ModTime()
	}
	f.checked = time.Now()
	return f.content, nil
}

// entries yields the lines of a file of name:role:secret, without comments.
func entries(b []byte) (all [][3]string, err error) {
	lines := bufio.NewScanner(bytes.NewReader(b))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		fields := strings.SplitN(line, ":", 3)
		if len(fields) != 3 || fields[0] == "" || fields[1] == "" || fields[2] == "" {
			return nil, fmt.Errorf("line %d: want name:role:secret", n)
		}
		all = append(all, [3]string(fields))
	}
	return all, lines.Err()
}

type account struct {
	User
	hash []byte
}

func parseAccounts(b []byte) (map[string]account, error) {
	all, err := entries(b)
	if err != nil {
		return nil, err
	}
	accounts := make(map[string]account)
	for _, e := range all {
		if _, err := bcrypt.Cost([]byte(e[2])); err != nil {
			return nil, fmt.Errorf("%s: the third field is no bcrypt hash, as 'htpasswd -nB %s' makes one: %w", e[0], e[0], err)
		}
		accounts[e[0]] = account{User{Name: e[0], Role: e[1]}, []byte(e[2])}
	}
	return accounts, nil
}

const (
	maxPassword   = 72 // bytes, of which bcrypt takes no more
	maxRemembered = 1024
	guessEvery    = time.Second // a wrong password from one address, after the first few
	guessBurst    = 5
)

// basicAuth asks browsers for a name and a password.
type basicAuth struct {
	file *secretFile[map[string]account]

	mu      sync.Mutex
	known   map[[sha256.Size]byte]bool // what was right, since bcrypt is slow on purpose
	guesses map[string]*rate.Limiter   // by address
}

// Basic returns an [Options.Auth] that asks for names and passwords, which are in a file with lines of
// name:role:bcrypt. The file is read anew when it changes. Wrong passwords from one address are slowed.
func Basic(file string) (func(*http.Request) (User, error), error) {
	f, err := openSecrets(file, parseAccounts)
	if err != nil {
		return nil, err
	}
	b := &basicAuth{file: f, known: make(map[[sha256.Size]byte]bool), guesses: make(map[string]*rate.Limiter)}
	return b.user, nil
}

func (b *basicAuth) user(r *http.Request) (User, error) {
	accounts, err := b.file.get()
	if err != nil {
		return User{}, err
	}
	ask := &ChallengeError{Challenge: `Basic realm="Millhand", charset="UTF-8"`, Text: "a name and a password are needed"}
	name, password, ok := r.BasicAuth()
	if !ok {
		return User{}, ask
	}
	a, there := accounts[name]
	if !there {
		a.hash = inPlaceOf(name, accounts)
	}
	key := sha256.Sum256([]byte(name + "\x00" + password + "\x00" + string(a.hash)))
	if there && b.isKnown(key) {
		return a.User, nil
	}
	from := guesserOf(r)
	if !b.mayGuess(from) {
		return User{}, &problem{status: http.StatusTooManyRequests, title: "Too many wrong passwords", text: "Wait a few seconds.", hint: "Then try again."}
	}
	if bcrypt.CompareHashAndPassword(a.hash, []byte(password[:min(len(password), maxPassword)])) != nil || !there || len(password) > maxPassword {
		ask.Text = "the name or the password is wrong"
		return User{}, ask
	}
	b.remember(key, from)
	return a.User, nil
}

// inPlaceOf is the hash of another account, for a name that there is none of: it takes as long to refuse as
// one that there is. The same name has always the same.
func inPlaceOf(name string, accounts map[string]account) []byte {
	sum := sha256.Sum256([]byte(name))
	names := sortedKeys(accounts)
	if len(names) == 0 {
		return nil
	}
	return accounts[names[int(sum[0])%len(names)]].hash
}

func (b *basicAuth) isKnown(key [sha256.Size]byte) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.known[key]
}

func (b *basicAuth) remember(key [sha256.Size]byte, from string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.known) >= maxRemembered {
		clear(b.known)
	}
	b.known[key] = true
	delete(b.guesses, from)
}

// guesserOf is what guesses are counted by: an address or, as whoever has one of IPv6 has all of its network,
// that network.
func guesserOf(r *http.Request) string {
	const network = 64 // bits, the least that is given to anybody
	from := clientOf(r)
	addr, err := netip.ParseAddr(from)
	if err != nil || !addr.Unmap().Is6() {
		return from
	}
	p, err := addr.WithZone("").Prefix(network)
	if err != nil {
		return from
	}
	return p.String()
}

// mayGuess reports whether an address may try a password now.
func (b *basicAuth) mayGuess(from string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.guesses[from]
	if l == nil {
		if len(b.guesses) >= maxRemembered {
			clear(b.guesses)
		}
		l = rate.NewLimiter(rate.Every(guessEvery), guessBurst)
		b.guesses[from] = l
	}
	return l.Allow()
}

// Token returns an [Options.Auth] that takes bearer tokens, which are in a file with lines of
// name:role:SHA-256 of the token in hex. The file is read anew when it changes.
func Token(file string) (func(*http.Request) (User, error), error) {
	f, err := openSecrets(file, parseTokens)
	if err != nil {
		return nil, err
	}
	return func(r *http.Request) (User, error) {
		tokens, err := f.get()
		if err != nil {
			return User{}, err
		}
		token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		token = strings.TrimSpace(token)
		ok = ok && token != "" // the hash of nothing is what a variable that is not set gives
		sum := sha256.Sum256([]byte(token))
		for _, t := range tokens {
			if ok && subtle.ConstantTimeCompare(t.hash, sum[:]) == 1 {
				return t.User, nil
			}
		}
		return User{}, &ChallengeError{Challenge: `Bearer realm="Millhand"`, Text: "a token is needed"}
	}, nil
}

func parseTokens(b []byte) (tokens []account, err error) {
	all, err := entries(b)
	if err != nil {
		return nil, err
	}
	for _, e := range all {
		hash, err := hex.DecodeString(e[2])
		if err != nil || len(hash) != sha256.Size {
			return nil, fmt.Errorf("%s: the third field is no SHA-256 in hex, as 'printf %%s TOKEN | sha256sum' makes one", e[0])
		}
		tokens = append(tokens, account{User{Name: e[0], Role: e[1]}, hash})
	}
	return tokens, nil
}

// Any returns an [Options.Auth] that lets in whom one of several knows. Whoever none of them knows is told what the
// first says, and may say who they are in any of the ways.
func Any(ways ...func(*http.Request) (User, error)) func(*http.Request) (User, error) {
	if len(ways) == 1 {
		return ways[0]
	}
	return func(r *http.Request) (User, error) {
		var first error
		for _, way := range ways {
			u, err := way(r)
			if err == nil {
				return u, nil
			}
			if first == nil {
				first = err
			}
		}
		return User{}, first
	}
}
