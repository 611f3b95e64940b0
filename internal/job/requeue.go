package job

import (
	"crypto/sha256"
	"encoding/hex"
)

// RequeuedLife returns the life that a dead job goes on in when it is requeued: of the life that died.
// Whoever requeues the same dead job comes to the same life, so that it runs once, and so does whoever
// requeues it from another record of the same death. docs/wire.md has the rule, for other languages.
func RequeuedLife(died string) string {
	sum := sha256.Sum256([]byte(died))
	return "q-" + hex.EncodeToString(sum[:16])
}
