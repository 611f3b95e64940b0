package hash

import (
	"math"
	"reflect"
	"unsafe"
)

// Of returns the hash function of a type: keys that are == have the same hash. A string, also of a
// named type, has that of [String]; an integer has that of its eight bytes as an int64 or uint64,
// the least significant first. Only keys that contain pointers, channels or interfaces cost an
// allocation, and pointers hash by address, so differently in each process.
//
// Of looks at the type once; call it once for many keys. The function is safe for concurrent use.
func Of[K comparable]() func(K) uint32 {
	t := reflect.TypeFor[K]()
	switch t.Kind() { //nolint:exhaustive // the rest is below
	case reflect.String:
		return func(k K) uint32 { return String(*(*string)(unsafe.Pointer(&k))) }
	case reflect.Int, reflect.Int64, reflect.Uint, reflect.Uint64, reflect.Uintptr:
		if t.Size() == 8 {
			return func(k K) uint32 { return word(offset, *(*uint64)(unsafe.Pointer(&k))) }
		}
	}
	layout, flat := appendFields(nil, t, 0)
	if !flat {
		return func(k K) uint32 { return value(offset, reflect.ValueOf(&k).Elem()) }
	}
	return func(k K) uint32 { return fields(offset, layout, unsafe.Pointer(&k)) }
}

// field is a part of a key that has no parts of its own.
type field struct {
	kind   reflect.Kind
	offset uintptr
}

// appendFields lists the parts of a type that starts at offset. It reports false if a part can only
// be hashed by what is in it.
func appendFields(list []field, t reflect.Type, offset uintptr) ([]field, bool) {
	var flat bool
	switch t.Kind() { //nolint:exhaustive // the rest has no parts
	case reflect.Struct:
		for f := range t.Fields() {
			if f.Name == "_" {
				continue // == ignores it
			}
			if list, flat = appendFields(list, f.Type, offset+f.Offset); !flat {
				return list, false
			}
		}
	case reflect.Array:
		for i := range t.Len() {
			if list, flat = appendFields(list, t.Elem(), offset+uintptr(i)*t.Elem().Size()); !flat {
				return list, false
			}
		}
	case reflect.Interface, reflect.Pointer, reflect.Chan, reflect.UnsafePointer:
		return list, false
	default:
		list = append(list, field{kind: t.Kind(), offset: offset})
	}
	return list, true
}

// fields hashes a key by its parts. It takes the key's address without keeping it, so that the key
// stays on the stack.
func fields(h uint32, layout []field, key unsafe.Pointer) uint32 {
	for _, f := range layout {
		p := unsafe.Add(key, f.offset)
		switch f.kind { //nolint:exhaustive // no others are comparable and without parts
		case reflect.String:
			h = word(text(h, *(*string)(p)), uint64(len(*(*string)(p)))) // else "a", "bc" were "ab", "c"
		case reflect.Bool, reflect.Uint8:
			h = word(h, uint64(*(*uint8)(p)))
		case reflect.Int8:
			h = word(h, uint64(*(*int8)(p)))
		case reflect.Int16:
			h = word(h, uint64(*(*int16)(p)))
		case reflect.Uint16:
			h = word(h, uint64(*(*uint16)(p)))
		case reflect.Int32:
			h = word(h, uint64(*(*int32)(p)))
		case reflect.Uint32:
			h = word(h, uint64(*(*uint32)(p)))
		case reflect.Int64:
			h = word(h, uint64(*(*int64)(p)))
		case reflect.Uint64:
			h = word(h, *(*uint64)(p))
		case reflect.Int:
			h = word(h, uint64(*(*int)(p)))
		case reflect.Uint:
			h = word(h, uint64(*(*uint)(p)))
		case reflect.Uintptr:
			h = word(h, uint64(*(*uintptr)(p)))
		case reflect.Float32:
			h = float(h, float64(*(*float32)(p)))
		case reflect.Float64:
			h = float(h, *(*float64)(p))
		case reflect.Complex64:
			c := *(*complex64)(p)
			h = float(float(h, float64(real(c))), float64(imag(c)))
		case reflect.Complex128:
			c := *(*complex128)(p)
			h = float(float(h, real(c)), imag(c))
		default:
			panic("hash: " + f.kind.String() + " is not comparable")
		}
	}
	return h
}

// value hashes what reflect can see only: the same parts, and what an interface holds.
func value(h uint32, v reflect.Value) uint32 {
	switch v.Kind() { //nolint:exhaustive // integers are the default
	case reflect.Interface:
		if v.IsNil() {
			return word(h, 0)
		}
		return value(text(h, v.Elem().Type().String()), v.Elem())
	case reflect.Pointer, reflect.Chan, reflect.UnsafePointer:
		return word(h, uint64(v.Pointer()))
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).Name != "_" {
				h = value(h, v.Field(i))
			}
		}
		return h
	case reflect.Array:
		for i := range v.Len() {
			h = value(h, v.Index(i))
		}
		return h
	case reflect.String:
		return word(text(h, v.String()), uint64(v.Len()))
	case reflect.Float32, reflect.Float64:
		return float(h, v.Float())
	case reflect.Complex64, reflect.Complex128:
		return float(float(h, real(v.Complex())), imag(v.Complex()))
	case reflect.Bool:
		if v.Bool() {
			return word(h, 1)
		}
		return word(h, 0)
	default:
		if v.CanInt() {
			return word(h, uint64(v.Int()))
		}
		return word(h, v.Uint()) // panics, as == does, on what an interface holds and cannot be compared
	}
}

// float makes the two zeros one, since they are ==.
func float(h uint32, f float64) uint32 { return word(h, math.Float64bits(f+0)) }
