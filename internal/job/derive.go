package job

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
)

// Rules by which ids are derived. With another rule the same job would have another id, so a program
// that knows only the old one would not see that they are the same.
const (
	uniqueRule = "millhand.unique.1" // of type and payload
	resumeRule = "millhand.resume.1" // of a line of a bulk with a name
	mapRule    = "millhand.map.1"    // of an element of a map with a name
)

// derive returns what follows from these parts alone, in a form that serves as an id and a life.
// docs/wire.md has the rules, for other languages.
func derive(prefix string, parts ...[]byte) string {
	sum := sha256.Sum256(bytes.Join(parts, []byte{0}))
	return prefix + hex.EncodeToString(sum[:16])
}

// UniqueID returns the id that a job has by its type and payload. Two payloads that are the same JSON
// have one id. It is a usable id, whatever the payload.
func UniqueID(typ string, payload []byte) string {
	form, body := "raw", payload
	if text, ok := canonical(payload); ok {
		form, body = "json", text
	}
	return derive("u-", []byte(uniqueRule), []byte(typ), []byte(form), body)
}

// ResumedID returns the id of the job of a line of a bulk with a name.
func ResumedID(name string, line int) string {
	return derive("r-", []byte(resumeRule), []byte(name), []byte(strconv.Itoa(line)))
}

// MapID returns the id of the job at an index of the input of a named map. Other arguments there
// have another id, so that nobody takes the result of the old ones for theirs.
func MapID(name string, index int, typ string, payload []byte) string {
	return derive("m-", []byte(mapRule), []byte(name), []byte(strconv.Itoa(index)), []byte(typ), payload)
}

// RequeuedLife returns the life that a dead job goes on in when it is requeued: of the life that died.
// Whoever requeues the same dead job comes to the same life, so that it runs once, and so does whoever
// requeues it from another record of the same death.
func RequeuedLife(died string) string { return derive(requeued, []byte(died)) }

// requeued begins such a life.
const requeued = "q-"

// IsRequeuedLife reports whether a life may be one of [RequeuedLife].
func IsRequeuedLife(life string) bool { return strings.HasPrefix(life, requeued) }
