// Package hash maps keys to partitions: strings as the broker does, and every other comparable type
// in the same way in each run of the program.
//
// It is FNV-1a of 32 bits, which is what the subject mapping {{partition(n,…)}} of nats-server uses.
// It spreads keys and protects from nobody: whoever chooses the keys can put all of them into one
// partition.
package hash

// The parameters of FNV-1a with 32 bits.
const (
	offset uint32 = 2166136261
	prime  uint32 = 16777619
)

// String returns the hash of key, which is the broker's.
func String(key string) uint32 { return text(offset, key) }

// Partition returns which of n partitions the broker puts key into: 0 to n-1. It panics if n < 1.
func Partition(key string, n int) int { return Bucket(String(key), n) }

// Bucket returns which of n partitions a hash belongs to: 0 to n-1. It panics if n < 1.
func Bucket(h uint32, n int) int { return int(h % uint32(n)) }

func text(h uint32, s string) uint32 {
	for i := range len(s) {
		h = (h ^ uint32(s[i])) * prime
	}
	return h
}

// word adds the eight bytes of v, the least significant first.
func word(h uint32, v uint64) uint32 {
	for range 8 {
		h = (h ^ uint32(v&0xff)) * prime
		v >>= 8
	}
	return h
}
