package job

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
)

// RequeuedLife returns the life that a dead job goes on in when it is requeued: of the life that died
// and the sequence of its record. Whoever requeues the same dead job comes to the same life, so that
// it runs once. docs/wire.md has the rule, for other languages.
func RequeuedLife(died string, record uint64) string {
	sum := sha256.Sum256(strconv.AppendUint(append([]byte(died), 0), record, 10))
	return "q-" + hex.EncodeToString(sum[:16])
}
