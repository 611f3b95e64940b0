package broker

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"
	"golang.org/x/crypto/bcrypt"

	"github.com/millhand/millhand/internal/access"
)

// Access says who may do what with a broker, and how they reach it. The zero value lets everybody in.
type Access struct {
	users []*server.User
	nkeys []*server.NkeyUser
	own   string // password of the process itself
	tls   *tls.Config

	file, namespace string // where the users are from; empty: there are none
}

// Guarded reports whether users have to say who they are.
func (a *Access) Guarded() bool { return a.own != "" }

// ownUser is a name that none in a file has.
const ownUser = "(this process)"

// Login returns how the process itself connects; both are empty if everybody may.
func (a *Access) Login() (user, password string) {
	if !a.Guarded() {
		return "", ""
	}
	return ownUser, a.own
}

var userName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// ReadUsers reads a file of users, whose lines are name:role:secret. The secret is a bcrypt hash of a
// password, or the public part of an nkey of a user. Empty lines and those that begin with # are skipped.
// An error names file and line, and no secret.
func (a *Access) ReadUsers(file, namespace string) error {
	a.file, a.namespace = file, namespace
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	known := make(map[string]int)
	lines := bufio.NewScanner(bytes.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, err := a.add(line, namespace)
		if err == nil && known[name] > 0 {
			err = fmt.Errorf("user %s is in line %d already", name, known[name])
		}
		if err != nil {
			return fmt.Errorf("%s:%d: %w", file, n, err)
		}
		known[name] = n
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	if len(known) == 0 {
		return fmt.Errorf("%s: it has no users: want lines of name:role:hash", file)
	}
	if a.own == "" {
		a.own = rand.Text()
	}
	own, err := bcrypt.GenerateFromPassword([]byte(a.own), bcrypt.MinCost)
	if err != nil {
		return err
	}
	a.users = append(a.users, &server.User{Username: ownUser, Password: string(own)})
	return nil
}

// again is a as its file is now. How the process itself connects stays.
func (a *Access) again() (Access, error) {
	now := Access{own: a.own, tls: a.tls}
	err := now.ReadUsers(a.file, a.namespace)
	return now, err
}

func (a *Access) add(line, namespace string) (name string, err error) {
	parts := strings.SplitN(line, ":", 3)
	if len(parts) != 3 {
		return "", errors.New("want name:role:hash, such as 'htpasswd -nB NAME' prints, with the role in between")
	}
	name, role, secret := parts[0], access.Role(parts[1]), parts[2]
	switch {
	case !userName.MatchString(name):
		return "", errors.New("the name may have 1 to 64 of A-Z a-z 0-9 _ -")
	case !slices.Contains(access.Roles(), role):
		return "", fmt.Errorf("user %s: unknown role %q: want enqueuer, viewer, worker, operator or admin", name, role)
	}
	may := access.Of(role, namespace, name)
	permissions := &server.Permissions{
		Publish:   &server.SubjectPermission{Allow: may.Publish, Deny: may.DenyPublish},
		Subscribe: &server.SubjectPermission{Allow: may.Subscribe, Deny: may.DenySubscribe},
	}
	if nkeys.IsValidPublicUserKey(secret) {
		a.nkeys = append(a.nkeys, &server.NkeyUser{Nkey: secret, Permissions: permissions})
		return name, nil
	}
	if _, err := bcrypt.Cost([]byte(secret)); err != nil || !strings.HasPrefix(secret, "$2") {
		return "", fmt.Errorf("user %s: the third field is neither a bcrypt hash, as 'htpasswd -nB %s' makes one, nor the public key of an nkey (U…)", name, name)
	}
	a.users = append(a.users, &server.User{Username: name, Password: secret, Permissions: permissions})
	return name, nil
}

// ReadCertificate has the broker speak TLS with these files.
func (a *Access) ReadCertificate(cert, key string) error {
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return fmt.Errorf("certificate %s, key %s: %w", cert, key, err)
	}
	a.tls = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	return nil
}

// apply sets what it says in a server's options.
func (a *Access) apply(o *server.Options) {
	o.Users, o.Nkeys = a.users, a.nkeys
	if a.tls != nil {
		o.TLS, o.TLSConfig, o.TLSTimeout = true, a.tls, float64(server.TLS_TIMEOUT/1e9)
	}
}
