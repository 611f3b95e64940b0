package cli

import (
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

// cutReference takes apart a secret that says where it is to be had, as the nats CLI has
// it: env://NAME, file://PATH, and data:;base64,CONTENT. The scheme of any other text is
// empty. What the CLI runs another program for is an error: to send the reference instead
// would tell the server where the secret is.
func cutReference(text string) (scheme, rest string, err error) {
	for _, known := range []string{"env://", "file://", "data:", "op://", "nsc://"} {
		if len(text) < len(known) || !strings.EqualFold(text[:len(known)], known) {
			continue
		}
		if known == "op://" || known == "nsc://" {
			return "", "", fmt.Errorf("%s references are not supported: put the secret into a file or a variable", known)
		}
		return known, text[len(known):], nil
	}
	return "", text, nil
}

// secretText is a password or token, or what it refers to.
func secretText(text string) (string, error) {
	scheme, rest, err := cutReference(text)
	if err != nil || scheme == "" {
		return text, err
	}
	b, err := dereference(scheme, rest)
	return strings.TrimRight(string(b), "\r\n"), err
}

func dereference(scheme, rest string) ([]byte, error) {
	switch scheme {
	case "env://":
		v := os.Getenv(rest)
		if v == "" {
			return nil, fmt.Errorf("the environment has no %s", rest)
		}
		return []byte(v), nil
	case "file://":
		return os.ReadFile(expand(rest))
	}
	header, content, ok := strings.Cut(rest, ",")
	if !ok || !slices.Contains(strings.Split(header, ";"), "base64") {
		return nil, errors.New("want data:;base64,CONTENT")
	}
	b, err := base64.StdEncoding.DecodeString(content)
	if err != nil {
		return nil, errors.New("what follows data:;base64, is not base64") // the error would quote it
	}
	return b, nil
}

// fileOrContent is a path, or content that was given by reference: one of them is empty.
func fileOrContent(text string) (path string, content []byte, err error) {
	scheme, rest, err := cutReference(text)
	switch {
	case err != nil:
		return "", nil, err
	case scheme == "" && isKey(text):
		return "", nil, errContent
	case scheme == "":
		return text, nil, nil
	case scheme == "file://":
		return expand(rest), nil, nil
	}
	content, err = dereference(scheme, rest)
	return "", content, err
}

// errContent says that a file's content is given where its name is wanted.
var errContent = errors.New("want a FILE; this is the secret itself")

// isKey reports whether somebody gave a key where the name of its file was wanted; one
// with a slip of the pen, too.
func isKey(text string) bool {
	text = strings.TrimSpace(text)
	seed := len(text) > 50 && text[0] == 'S' && strings.Trim(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") == ""
	return seed || strings.Contains(text, "-----BEGIN ") || strings.HasPrefix(text, "eyJ")
}

func credsOption(text string) (nats.Option, error) {
	path, content, err := fileOrContent(text)
	switch {
	case err != nil:
		return nil, err
	case path != "":
		return nats.UserCredentials(path), nil
	}
	return nats.UserCredentialBytes(content), nil
}

func nkeyOption(text string) (nats.Option, error) {
	path, content, err := fileOrContent(text)
	switch {
	case err != nil:
		return nil, err
	case path != "":
		return nats.NkeyOptionFromSeed(path)
	}
	pair, err := nkeys.ParseDecoratedNKey(content)
	if err != nil {
		return nil, err
	}
	public, err := pair.PublicKey()
	if err != nil {
		return nil, err
	}
	return nats.Nkey(public, pair.Sign), nil
}

// filePath is the path of a certificate or a key, for which the nats CLI takes files only.
func filePath(text string) (string, error) {
	scheme, rest, err := cutReference(text)
	switch {
	case err != nil:
		return "", err
	case scheme == "" && isKey(text):
		return "", errContent
	case scheme == "":
		return text, nil
	case scheme == "file://":
		return expand(rest), nil
	}
	return "", fmt.Errorf("%s references are not supported here: want a FILE", scheme)
}

// expand puts the values of variables and a home directory into a path of a context: the
// one in which there is such a file, since the author of the context may have meant either.
func expand(path string) string {
	path = os.ExpandEnv(path)
	rest, ok := strings.CutPrefix(path, "~/")
	if !ok {
		return path
	}
	for _, home := range homeDirs() {
		path = filepath.Join(home, rest)
		if _, err := os.Stat(path); err == nil {
			break
		}
	}
	return path // if there is none, opening it says so
}

// homeDirs are the home directory that the user database has, which is the nats CLI's,
// and that of the environment, if it is another.
func homeDirs() []string {
	var dirs []string
	if u, err := user.Current(); err == nil && u.HomeDir != "" {
		dirs = append(dirs, u.HomeDir)
	}
	if home := os.Getenv("HOME"); home != "" && !slices.Contains(dirs, home) {
		dirs = append(dirs, home)
	}
	return dirs
}
