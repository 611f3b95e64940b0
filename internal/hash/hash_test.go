package hash_test

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math"
	"strconv"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/millhand/millhand/internal/hash"
)

func TestPartitionIsTheBrokers(t *testing.T) {
	for _, n := range []int{1, 7, 16, 1000} {
		broker, err := server.NewSubjectTransform("orders.*", fmt.Sprintf("{{partition(%d,1)}}", n))
		if err != nil {
			t.Fatal(err)
		}
		for i := range 10_000 {
			key := fmt.Sprintf("customer-%d-é", i*i)
			if got, want := strconv.Itoa(hash.Partition(key, n)), broker.TransformSubject("orders."+key); got != want {
				t.Fatalf("partition of %q among %d is %s, the broker's %s", key, n, got, want)
			}
		}
	}
}

type (
	name  string
	point struct {
		X, Y int32
		_    int64
		Name name
		At   [2]float64
	}
	open struct {
		V any
		P *int
	}
)

// Keys that are == have equal hashes, others nearly always different ones.
func TestOf(t *testing.T) {
	at := new(int)
	differ(t, "", "a", "b", "ab")
	differ(t, 0, 1, -1, 1<<40)
	differ[uint8](t, 0, 1, 255)
	differ(t, true, false)
	differ(t, 0.0, 1.5, math.Inf(1))
	differ(t, 0i, 1i, 1)
	differ(t, point{}, point{X: 1}, point{Y: 1}, point{Name: "x"}, point{At: [2]float64{0, 1}})
	differ(t, [2]string{"a", "bc"}, [2]string{"ab", "c"})
	differ(t, open{}, open{V: 1}, open{V: "1"}, open{V: point{X: 1}}, open{P: at}, open{V: true}, open{V: 2.5}, open{V: 1i})
	differ[any](t, nil, 1, int64(1), "1", [1]string{"1"})
	if of := hash.Of[name](); of("orders") != hash.String("orders") {
		t.Error("a named string has not the hash of a string")
	}
	if of := hash.Of[float64](); of(0) != of(math.Copysign(0, -1)) {
		t.Error("the zeros are == and have different hashes")
	}
	if of := hash.Of[any](); of(0.0) != of(math.Copysign(0, -1)) {
		t.Error("the zeros in interfaces are == and have different hashes")
	}
}

func differ[K comparable](t *testing.T, keys ...K) {
	t.Helper()
	of, again := hash.Of[K](), hash.Of[K]()
	seen := map[uint32]K{}
	for _, k := range keys {
		if of(k) != again(k) {
			t.Errorf("%#v has two hashes", k)
		}
		if other, ok := seen[of(k)]; ok {
			t.Errorf("%#v and %#v have one hash", k, other)
		}
		seen[of(k)] = k
	}
}

func TestIntegersAreTheirBytes(t *testing.T) {
	for _, n := range []int{0, 42, -1, math.MaxInt64} {
		h := fnv.New32a()
		if err := binary.Write(h, binary.LittleEndian, int64(n)); err != nil {
			t.Fatal(err)
		}
		if got, want := hash.Of[int]()(n), h.Sum32(); got != want {
			t.Errorf("hash of %d is %#x, want %#x", n, got, want)
		}
	}
}

func TestOfAllocatesNothing(t *testing.T) {
	integers, structs := hash.Of[int](), hash.Of[point]()
	sum := uint32(0)
	if n := testing.AllocsPerRun(100, func() { sum += integers(7) + structs(point{X: 7, Name: "seven"}) }); n != 0 {
		t.Errorf("%v allocations for two keys, of sum %d", n, sum)
	}
}
