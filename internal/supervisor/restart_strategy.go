package supervisor

// action is what a supervisor does about the end of a child.
type action uint8

const (
	keep    action = iota // leave it stopped; it can be restarted by hand
	forget                // drop it
	restart               // start it again, with those that the strategy adds
)

// onEnd decides about a child that ended by itself. Source: supervisor(3), "Restart Type"; a clean
// end is normal or shutdown.
func (r Restart) onEnd(clean bool) action {
	switch {
	case r == Temporary:
		return forget
	case r == Transient && clean:
		return keep
	default:
		return restart
	}
}

// group returns the half-open range of children that share the fate of child i of n.
func (s Strategy) group(i, n int) (from, to int) {
	switch s {
	case OneForAll:
		return 0, n
	case RestForOne:
		return i, n
	case OneForOne:
	}
	return i, i + 1
}

// plan is a restart as indices into the children, each list in the order of its steps.
type plan struct {
	stop   []int // reverse start order
	forget []int // subset of stop
	start  []int // start order
}

// plan decides what the restart of child failed does to the children, given their restart values in
// start order. A child that stands still is started along: the group comes back whole
// (supervisor.erl, restart_multiple_children). Temporary ones are stopped and forgotten; the failed
// child itself is started whatever its value.
func (s Strategy) plan(failed int, children []Restart) plan {
	var p plan
	from, to := s.group(failed, len(children))
	for i := to - 1; i >= from; i-- {
		if i == failed {
			continue
		}
		p.stop = append(p.stop, i)
		if children[i] == Temporary {
			p.forget = append(p.forget, i)
		}
	}
	for i := from; i < to; i++ {
		if i == failed || children[i] != Temporary {
			p.start = append(p.start, i)
		}
	}
	return p
}

// ends reports whether a supervisor ends now that a child ended for good, with left other
// significant children alive. Source: supervisor(3), "Automatic Shutdown".
func (a AutoShutdown) ends(significant bool, left int) bool {
	switch a {
	case AnySignificant:
		return significant
	case AllSignificant:
		return significant && left == 0
	case Never:
	}
	return false
}
