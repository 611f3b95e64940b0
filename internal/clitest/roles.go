package clitest

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
)

// Roles is a server with the users of docs/security.md.
type Roles struct {
	*server.Server
	mu     sync.Mutex
	denied []string
}

// StartRoles starts a server with the configuration of docs/security.md, as it stands there. The test's
// package is two folders deep, as cmd/millhand is.
func StartRoles(t *testing.T) *Roles {
	t.Helper()
	doc, err := os.ReadFile("../../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(doc), "```text roles\n")
	conf, _, ok := strings.Cut(rest, "```\n")
	if !ok {
		t.Fatal("docs/security.md has no block of roles")
	}
	file := filepath.Join(t.TempDir(), "nats.conf")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	opts, err := server.ProcessConfigFile(file)
	if err != nil {
		t.Fatalf("the documented configuration: %v", err)
	}
	opts.Host, opts.Port, opts.NoSigs = "127.0.0.1", server.RANDOM_PORT, true
	opts.JetStream, opts.StoreDir = true, t.TempDir()
	srv, err := server.NewServer(opts)
	if err != nil {
		t.Fatal(err)
	}
	r := &Roles{Server: srv}
	srv.SetLoggerV2(r, false, false, false)
	srv.Start()
	t.Cleanup(func() { srv.Shutdown(); srv.WaitForShutdown() })
	if !srv.ReadyForConnections(patience) {
		t.Fatal("no server")
	}
	return r
}

// Login is the flags by which a command is the user of a role.
func (r *Roles) Login(role string) []string {
	return []string{"-s", r.ClientURL(), "--user", role, "--password", "change-me-" + role, "--inbox-prefix", "_INBOX." + role}
}

// Denied returns what was refused to a role since the last call, or to all with "". The server tells
// whom it refuses first: the last line of one role may come when the next one is asked for.
func (r *Roles) Denied(role string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	denied := slices.DeleteFunc(r.denied, func(line string) bool { return role != "" && !strings.HasPrefix(line, role+":") })
	r.denied = nil
	slices.Sort(denied)
	return slices.Compact(denied)
}

// Errorf implements the server's logger.
func (r *Roles) Errorf(format string, args ...any) {
	if line := fmt.Sprintf(format, args...); strings.Contains(line, "Violation") {
		r.mu.Lock()
		defer r.mu.Unlock()
		_, user, _ := strings.Cut(line, "/user:")
		user, _, _ = strings.Cut(user, `"`)
		r.denied = append(r.denied, user+": "+line[strings.Index(line, "Violation"):])
	}
}

// Noticef implements the server's logger.
func (r *Roles) Noticef(string, ...any) {}

// Warnf implements the server's logger.
func (r *Roles) Warnf(string, ...any) {}

// Fatalf implements the server's logger.
func (r *Roles) Fatalf(string, ...any) {}

// Debugf implements the server's logger.
func (r *Roles) Debugf(string, ...any) {}

// Tracef implements the server's logger.
func (r *Roles) Tracef(string, ...any) {}
