package pipeline

import (
	"context"
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"

	"github.com/millhand/millhand/internal/window"
)

// foldState is what a fold knows of a partition, as it is kept.
type foldState[K comparable, V, A any] struct {
	UpTo    uint64                        `json:"up_to"`
	Holes   []uint64                      `json:"holes,omitempty"`
	Open    window.State[K, V, folded[A]] `json:"open"`
	Windows []*foldWindow[K, A]           `json:"windows,omitempty"`
}

// StateName implements [Checkpointed].
func (f *folding[K, V, A]) StateName() string { return f.config.Name }

// Begin implements [Checkpointed].
func (f *folding[K, V, A]) Begin(life context.Context, n int, state []byte) error {
	p := newFoldPart(f, n)
	p.life = life
	if state != nil {
		var st foldState[K, V, A]
		err := contained(func() error { return json.Unmarshal(state, &st) })
		if err == nil {
			err = p.op.Restore(st.Open)
		}
		if err != nil {
			return fmt.Errorf("pipeline: state of fold %s in partition %d: %w", f.config.Name, n, err)
		}
		p.upTo, p.holes, p.windows = st.UpTo, st.Holes, st.Windows
		for _, w := range p.windows {
			w.value, w.kept = w.Value.of, true
		}
	}
	f.mu.Lock()
	back := f.forget(f.parts[n])
	f.parts[n] = p
	p.count()
	f.work.Broadcast()
	f.mu.Unlock()
	f.run.settle(back)
	context.AfterFunc(life, func() { f.drop(p) })
	return nil
}

// Checkpoint implements [Checkpointed].
func (f *folding[K, V, A]) Checkpoint(n int, seq uint64) (state []byte, changed bool, kept func(), err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := f.parts[n]
	if p == nil || !p.changed {
		return nil, false, func() {}, nil
	}
	holes := p.holes[:0]
	for _, h := range p.holes {
		if h > seq {
			holes = append(holes, h)
		}
	}
	p.holes = holes
	for _, w := range p.windows {
		w.Value.of = w.value
	}
	err = contained(func() (err error) {
		state, err = json.Marshal(foldState[K, V, A]{UpTo: p.upTo, Holes: p.holes, Open: p.op.State(), Windows: p.windows})
		return err
	})
	if err != nil {
		return nil, false, nil, fmt.Errorf("pipeline: state of fold %s: %w", f.config.Name, err)
	}
	p.changed = false
	windows := append([]*foldWindow[K, A](nil), p.windows...)
	return state, true, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, w := range windows {
			w.kept = true
		}
		f.work.Broadcast()
	}, nil
}

// encodedValue is an accumulator in its encoded form.
type encodedValue[A any] struct{ of A }

// MarshalJSON implements [json.Marshaler].
func (e encodedValue[A]) MarshalJSON() ([]byte, error) { return encodeValue(e.of) }

// UnmarshalJSON implements [json.Unmarshaler].
func (e *encodedValue[A]) UnmarshalJSON(b []byte) (err error) {
	e.of, err = decodeValue[A](b)
	return err
}

type encodedFolded[A any] struct {
	Value    encodedValue[A] `json:"value"`
	Changed  bool            `json:"changed,omitempty"`
	Revision int             `json:"revision,omitempty"`
}

// MarshalJSON implements [json.Marshaler].
func (a folded[A]) MarshalJSON() ([]byte, error) {
	return json.Marshal(encodedFolded[A]{encodedValue[A]{a.Value}, a.Changed, a.Revision})
}

// UnmarshalJSON implements [json.Unmarshaler].
func (a *folded[A]) UnmarshalJSON(b []byte) error {
	var e encodedFolded[A]
	if err := json.Unmarshal(b, &e); err != nil {
		return err
	}
	a.Value, a.Changed, a.Revision = e.Value.of, e.Changed, e.Revision
	return nil
}

// binary reports whether accumulators encode themselves.
func binary[A any]() bool {
	target := reflect.TypeFor[A]()
	if target.Kind() != reflect.Pointer {
		target = reflect.PointerTo(target)
	}
	return target.Implements(reflect.TypeFor[encoding.BinaryAppender]()) && target.Implements(reflect.TypeFor[encoding.BinaryUnmarshaler]())
}

func encodeValue[A any](v A) ([]byte, error) {
	if !binary[A]() {
		return json.Marshal(v)
	}
	appender, ok := any(v).(encoding.BinaryAppender)
	if !ok {
		appender, ok = any(&v).(encoding.BinaryAppender)
	}
	if !ok || isNil(reflect.ValueOf(appender)) {
		return []byte("null"), nil
	}
	b, err := appender.AppendBinary(nil)
	if err != nil {
		return nil, err
	}
	return json.Marshal(b)
}

func isNil(v reflect.Value) bool {
	switch v.Kind() { //nolint:exhaustive // others are not nil
	case reflect.Pointer, reflect.Map, reflect.Slice, reflect.Chan, reflect.Func:
		return v.IsNil()
	}
	return false
}

func decodeValue[A any](b []byte) (v A, err error) {
	if !binary[A]() {
		err = json.Unmarshal(b, &v)
		return v, err
	}
	var body []byte
	if err := json.Unmarshal(b, &body); err != nil || body == nil {
		return v, err
	}
	target := any(&v)
	if t := reflect.TypeFor[A](); t.Kind() == reflect.Pointer {
		reflect.ValueOf(&v).Elem().Set(reflect.New(t.Elem()))
		target = any(v)
	}
	if u, ok := target.(encoding.BinaryUnmarshaler); ok {
		err = u.UnmarshalBinary(body)
	}
	return v, err
}

// copied returns an accumulator that shares nothing with v.
func copied[A any](v A) A {
	switch reflect.TypeFor[A]().Kind() { //nolint:exhaustive // the others may share something
	case reflect.Bool, reflect.String, reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Float32, reflect.Float64:
		return v
	}
	var c A
	err := contained(func() error {
		b, err := encodeValue(v)
		if err == nil {
			c, err = decodeValue[A](b)
		}
		return err
	})
	if err != nil {
		return v
	}
	return c
}
