package cli

import (
	"fmt"

	"github.com/nats-io/nats.go"
)

// option is a nats.go option and where it comes from.
type option struct {
	apply  nats.Option // nil: nothing to set
	source string
}

// try applies the option to nothing, which reads its files.
func (o option) try() error {
	var scratch nats.Options
	if err := o.apply(&scratch); err != nil {
		return err
	}
	if scratch.UserJWT != nil { // credentials are otherwise read at connect
		if _, err := scratch.UserJWT(); err != nil {
			return err
		}
		_, err := scratch.SignatureCB([]byte("nonce"))
		return err
	}
	return nil
}

// login is who we are. The first source that names a user of any kind decides alone: a
// --creds must not be overruled by the user of a context. Only a password may come from
// elsewhere, since it should not stand on a command line. As in the nats CLI, a token is
// sent besides whatever else its source has.
func login(s sources) (option, error) {
	for _, get := range s {
		var found []value
		var kind string
		for _, k := range []string{flagCreds, flagNKey, flagUser} {
			if v := get(k); v.text != "" {
				found, kind = append(found, v), k
			}
		}
		token := get(keyToken)
		switch {
		case len(found) > 1 && found[0].source == found[1].source:
			return option{}, Usagef("%s has two kinds of credentials", found[0].source)
		case len(found) > 1:
			return option{}, Usagef("%s and %s are two kinds of credentials; use one", found[0].source, found[1].source)
		case len(found) == 1:
			return loginAs(kind, found[0], s.first(flagPassword), token), nil
		case token.text != "":
			return loginAs(keyToken, token, value{}, token), nil
		}
	}
	if p := s.first(flagPassword); p.text != "" {
		return option{}, Usagef("%s needs a user", p.source)
	}
	return option{}, nil
}

// loginAs makes all of it when it is applied, so that its errors are of the input.
func loginAs(kind string, v, password, token value) option {
	return option{source: v.source, apply: func(opts *nats.Options) error {
		apply, err := authentication(kind, v, password)
		if err != nil {
			return err
		}
		if err := apply(opts); err != nil || token.text == "" {
			return err
		}
		text, err := secretText(token.text)
		if err != nil {
			return fmt.Errorf("token: %w", err)
		}
		return nats.Token(text)(opts)
	}}
}

func authentication(kind string, v, password value) (nats.Option, error) {
	switch kind {
	case flagCreds:
		return credsOption(v.text)
	case flagNKey:
		return nkeyOption(v.text)
	case flagUser:
		if password.text == "" && !v.context { // the nats CLI's way to give a token
			return nats.Token(v.text), nil
		}
		text, err := secretText(password.text)
		if err != nil {
			return nil, fmt.Errorf("password: %w", err)
		}
		return nats.UserInfo(v.text, text), nil
	}
	return func(*nats.Options) error { return nil }, nil // a token alone
}

// inbox is where answers are sent to.
func inbox(s sources) (option, error) {
	prefix := s.first(flagInbox)
	if prefix.text == "" {
		return option{}, nil
	}
	return option{nats.CustomInboxPrefix(prefix.text), prefix.source}, nil
}

func authority(s sources) (option, error) {
	ca := s.first(flagTLSCA)
	if ca.text == "" {
		return option{}, nil
	}
	path, err := filePath(ca.text)
	if err != nil {
		return option{}, Usagef("%s: %w", ca.source, err)
	}
	return option{nats.RootCAs(path), ca.source}, nil
}

// certificate and key belong together, so they come from the same source.
func certificate(s sources) (option, error) {
	for _, get := range s {
		cert, key := get(flagTLSCert), get(flagTLSKey)
		switch {
		case cert.text == "" && key.text == "":
			continue
		case key.text == "":
			return option{}, Usagef("%s needs a key: --%s", cert.source, flagTLSKey)
		case cert.text == "":
			return option{}, Usagef("%s needs a certificate: --%s", key.source, flagTLSCert)
		}
		certPath, err := filePath(cert.text)
		if err != nil {
			return option{}, Usagef("%s: %w", cert.source, err)
		}
		keyPath, err := filePath(key.text)
		if err != nil {
			return option{}, Usagef("%s: %w", key.source, err)
		}
		return option{nats.ClientCert(certPath, keyPath), cert.source}, nil
	}
	return option{}, nil
}
