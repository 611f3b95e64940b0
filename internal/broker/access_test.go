package broker

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"golang.org/x/crypto/bcrypt"
)

func users(t *testing.T, lines string) (Access, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "users")
	if err := os.WriteFile(file, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	var a Access
	err := a.ReadUsers(file, "millhand")
	return a, err
}

func hashed(t *testing.T, password string) string {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return string(hash)
}

// What is wrong with a file of users is said with its line and without a secret.
func TestUsersThatCannotBe(t *testing.T) {
	good := "a:viewer:" + hashed(t, "x") + "\n"
	for lines, want := range map[string]string{
		"":                                   "users: it has no users",
		"# nobody\n\n":                       "users: it has no users",
		good + "b:viewer":                    "users:2: want name:role:hash",
		good + "\n# c\nb:boss:secret":        `users:4: user b: unknown role "boss"`,
		"b:viewer:secret":                    "users:1: user b: the third field is neither",
		"b c:viewer:" + hashed(t, "x"):       "users:1: the name",
		good + "a:admin:" + hashed(t, "y"):   "users:2: user a is in line 1 already",
		"b:viewer:SUAsecretsecretsecretsecr": "users:1: user b: the third field is neither",
	} {
		_, err := users(t, lines)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "$2a$") {
			t.Errorf("%q: %v, want %s", lines, err, want)
		}
	}
	var a Access
	if err := a.ReadUsers(filepath.Join(t.TempDir(), "none"), "millhand"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
}

// A guarded broker lets in whom its file names, each with a role, and the process itself.
func TestGuardedBroker(t *testing.T) {
	a, err := users(t, "eve:viewer:"+hashed(t, "grist")+"\nw2:worker:"+hashed(t, "chaff")+"\n")
	if err != nil {
		t.Fatal(err)
	}
	b := start(t, Config{Store: t.TempDir(), Access: a})
	user, password := a.Login()
	own, err := nats.Connect("", nats.InProcessServer(b), nats.UserInfo(user, password))
	if err != nil {
		t.Fatalf("the process itself: %v", err)
	}
	defer own.Close()
	for name, login := range map[string]nats.Option{"nobody": nats.Name("x"), "a wrong password": nats.UserInfo("eve", "chaff"), "the process from elsewhere": nats.UserInfo(user, "grist")} {
		if nc, err := nats.Connect(b.ClientURL(), login); !errors.Is(err, nats.ErrAuthorization) {
			t.Errorf("%s: %v", name, err)
			nc.Close()
		}
	}
	denied := make(chan error, 1)
	eve, err := nats.Connect(b.ClientURL(), nats.UserInfo("eve", "grist"), nats.CustomInboxPrefix("_INBOX.eve"),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { denied <- err }))
	if err != nil {
		t.Fatal(err)
	}
	defer eve.Close()
	if _, err := eve.RequestWithContext(t.Context(), "$JS.API.INFO", nil); err != nil {
		t.Errorf("a viewer looks: %v", err)
	}
	if err := eve.Publish("millhand.default.ready.echo.x", nil); err != nil {
		t.Fatal(err)
	}
	if err := <-denied; !errors.Is(err, nats.ErrPermissionViolation) {
		t.Errorf("a viewer enqueues: %v", err)
	}
}
