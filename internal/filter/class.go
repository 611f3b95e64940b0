package filter

import "strings"

// A Class says what it costs to find what a filter matches.
type Class string

// The classes, the cheapest first.
const (
	Point  Class = "point"  // a few requests, however many jobs there are
	Window Class = "window" // a page costs what is on it: the broker knows where to look
	Scan   Class = "scan"   // all jobs are read and looked at here, within a budget
)

// Class returns what it costs to find the jobs that match.
func (f Filter) Class() Class {
	if _, ok := f.Names(ID); ok {
		return Point
	}
	for i := range f.Terms {
		if f.Terms[i].class() == Scan {
			return Scan
		}
	}
	return Window
}

func (t *Term) class() Class {
	switch t.Key {
	case State:
		return Window
	case Queue: // all queues are known, so those that are not meant are known, too
		return Window
	case Type:
		if !t.Negated && !t.hasPrefix() {
			return Window
		}
	case ID:
		if !t.Negated && t.isDated() {
			return Window
		}
	case Since, Until:
		return Window
	case Word, Worker, Reason, Error, Group, Payload, Meta, Attempt, Crashes, Life, By, Age, Due, Wait, Run, Trace:
	}
	return Scan
}

func (t *Term) hasPrefix() bool {
	for _, v := range t.Values {
		if v.Op == Prefix {
			return true
		}
	}
	return false
}

// datedPrefix is how many digits of a UUIDv7 say to 66 seconds when it was made.
const datedPrefix = 8

// isDated reports whether all beginnings of ids may be those of a UUIDv7, which begin with a time.
func (t *Term) isDated() bool {
	for _, v := range t.Values {
		if len(v.Text) < datedPrefix || strings.Trim(v.Text[:datedPrefix], "0123456789abcdef") != "" {
			return false
		}
	}
	return true
}
