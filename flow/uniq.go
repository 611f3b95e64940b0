package flow

// Uniq keeps the first event of each key, and hands it on at once. It keeps all keys that it has seen,
// so without a window its memory grows with their number; see [Keyed.MaxKeys]. With [Keyed.Within] it is
// the first event of each key in a window; of a [Sliding] one, each that is the first in one of its windows.
func Uniq[K comparable, T any](k Keyed[K, T]) Stream[T] {
	if !k.window.isPlain() {
		return uniqWithin(k, settings{name: "Uniq"})
	}
	return Stream[T]{keyedNode[K, T, pair[K, T], T]{
		in: k, settings: settings{name: "Uniq"}, tap: pairs[K, T],
		operator: func(p partition, s settings, next sink[T]) sink[pair[K, T]] {
			return &uniq[K, T]{newWorker(p.lane, s, next), p.keys, map[K]struct{}{}}
		},
	}}
}

type uniq[K comparable, T any] struct {
	worker[T]
	keys *keys
	seen map[K]struct{}
}

func (u *uniq[K, T]) push(batch []pair[K, T]) error {
	u.begin()
	for _, v := range batch {
		if _, seen := u.seen[v.key]; seen {
			continue
		}
		if err := u.keys.add(1); err != nil {
			return err
		}
		u.seen[v.key] = struct{}{}
		u.out = append(u.out, v.value)
	}
	return u.flush()
}
