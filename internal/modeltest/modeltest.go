// Package modeltest is what model tests share. Only tests import it.
package modeltest

import (
	"fmt"
	"time"
	"unsafe"

	"pgregory.net/rapid"
)

// Steps are the steps of a model, by name, for [rapid.T.Repeat].
type Steps map[string]func(*rapid.T)

// Add adds a step that is taken weight times as often as one of weight 1.
func (s Steps) Add(name string, weight int, step func(*rapid.T)) {
	s[name] = step
	for i := 2; i <= weight; i++ {
		s[fmt.Sprintf("%s %d", name, i)] = step
	}
}

// Check adds what must hold after every step.
func (s Steps) Check(invariant func(*rapid.T)) { s[""] = invariant }

// Suspended returns t as seen after the machine slept for d: the wall clock has moved, the
// monotonic one has stood still. No function of package time makes such a time.
func Suspended(t time.Time, d time.Duration) time.Time {
	t = t.Add(d)
	type layout struct {
		wall uint64
		ext  int64 // monotonic nanoseconds
		loc  *time.Location
	}
	(*layout)(unsafe.Pointer(&t)).ext -= int64(d)
	return t
}
