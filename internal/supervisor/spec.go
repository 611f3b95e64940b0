package supervisor

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"time"
)

// Defaults, as in supervisor(3).
const (
	DefaultMaxRestarts = 3
	DefaultWithin      = 5 * time.Second
	DefaultStopTimeout = 5 * time.Second
)

// Forever is a timeout that does not expire: 292 years.
const Forever time.Duration = math.MaxInt64

// Spec describes a supervisor. Its zero values are OTP's defaults.
//
// OnEvent is called from the supervisor's own goroutine, in order and between its steps, except for
// ChildReturned, which comes from the goroutine that returned. It may look at the tree, but not
// change it.
type Spec struct {
	// Name is the supervisor's name in events, in the tree and in profiles. It is required.
	Name string

	// Strategy says which children a restart concerns. Zero means OneForOne.
	Strategy Strategy

	// MaxRestarts is how many restarts are allowed in any period of length Within; one more, and
	// the supervisor gives up. Nil means 3, and zero means none.
	MaxRestarts *int

	// Within is the length of that period. Zero means 5 s.
	Within time.Duration

	// Backoff is the delay before a restart. Zero means none.
	Backoff Backoff

	// AutoShutdown says whether the end of significant children ends the supervisor. Zero means
	// Never.
	AutoShutdown AutoShutdown

	// Children are the children, in start order.
	Children []Child

	// OnEvent is called as things happen, and must not block. Nil means that nobody is told.
	OnEvent func(Event)
}

// Child describes one child: a function or a [Part]. Exactly one of Run, RunReady and Part is set.
//
// The function owns everything it starts and returns after all of that has ended. Its context is
// cancelled, with cause [ErrShutdown], when its supervisor stops it. What it returns is how it
// ended: nil or [ErrShutdown] is clean, any other error and a panic are not.
type Child struct {
	// Name is unique in its supervisor.
	Name string

	// Run is a child that is ready as soon as it is started.
	Run func(ctx context.Context) error

	// RunReady is a child that says when it is ready, as a [Part] does. The next child starts after
	// that.
	RunReady func(ctx context.Context, ready func()) error

	// Part is a supervisor below this one, or another part that shows itself in the tree.
	Part Part

	// Restart says what the end of the child means. Zero means Permanent.
	Restart Restart

	// StopTimeout is how long a stop waits for the child. Zero means 5 s, or Forever if Part is a
	// supervisor.
	StopTimeout time.Duration

	// NoWait has a stop cancel the child's context without waiting for the child. It goes without a
	// StopTimeout.
	NoWait bool

	// Significant has the end of the child count for AutoShutdown. A permanent child cannot be
	// significant.
	Significant bool
}

// Part is a child that is more than a function: a [Supervisor], a [Dynamic], a [Server]. A part is
// one thing, which runs once at a time: one that was abandoned fails to start with
// [ErrAlreadyStarted] until it has returned.
type Part interface {
	// RunReady runs until ctx is done or the part ends. It calls ready, once, as soon as others may
	// depend on it. Returning before that is a failed start, or with [ErrIgnore] the wish not to be
	// started.
	RunReady(ctx context.Context, ready func()) error
	// Tree describes the part as it is now. It may be called at any time, from any goroutine, and
	// does not block.
	Tree() Node
}

// Restart says what the end of a child means for it.
type Restart uint8

// The restart values.
const (
	Permanent Restart = iota // it is always started again
	Transient                // it is started again unless it ended cleanly
	Temporary                // it is never started again, and forgotten
)

// String returns OTP's name of the value.
func (r Restart) String() string { return nameOf(r, "permanent", "transient", "temporary") }

// Strategy says which children are restarted when one ends.
type Strategy uint8

// The strategies.
const (
	OneForOne  Strategy = iota // the one that ended
	OneForAll                  // all of them
	RestForOne                 // the one that ended and those started after it
)

// String returns OTP's name of the strategy.
func (s Strategy) String() string { return nameOf(s, "one_for_one", "one_for_all", "rest_for_one") }

// AutoShutdown says whether a supervisor ends with its significant children.
type AutoShutdown uint8

// The kinds of automatic shutdown.
const (
	Never          AutoShutdown = iota // it does not
	AnySignificant                     // it ends when one of them ended for good
	AllSignificant                     // it ends when the last of them ended for good
)

// String returns OTP's name of the value.
func (a AutoShutdown) String() string {
	return nameOf(a, "never", "any_significant", "all_significant")
}

func nameOf[T ~uint8](v T, names ...string) string {
	if int(v) >= len(names) {
		return fmt.Sprintf("invalid(%d)", v)
	}
	return names[v]
}

// withDefaults replaces zero values by what they stand for, in a copy that is independent of s.
func (s Spec) withDefaults() Spec {
	s.MaxRestarts, s.Within = intensityOf(s.MaxRestarts, s.Within)
	s.Children = slices.Clone(s.Children)
	return s
}

// intensityOf fills in what a spec does not say about its restart intensity.
func intensityOf(maxRestarts *int, within time.Duration) (*int, time.Duration) {
	if maxRestarts == nil {
		maxRestarts = new(DefaultMaxRestarts)
	}
	return maxRestarts, cmp.Or(within, DefaultWithin)
}

func (s Spec) validate() error {
	if err := validateLimits(s.Name, s.MaxRestarts, s.Within, s.Backoff); err != nil {
		return err
	}
	if s.Strategy > RestForOne {
		return fmt.Errorf("%w: supervisor %s: strategy %v", ErrSpec, s.Name, s.Strategy)
	}
	if s.AutoShutdown > AllSignificant {
		return fmt.Errorf("%w: supervisor %s: auto-shutdown %v", ErrSpec, s.Name, s.AutoShutdown)
	}
	names := make(map[string]bool, len(s.Children))
	for _, c := range s.Children {
		if names[c.Name] {
			return fmt.Errorf("%w: supervisor %s: duplicate child name %s", ErrSpec, s.Name, c.Name)
		}
		names[c.Name] = true
		if err := c.validate(s.AutoShutdown); err != nil {
			return fmt.Errorf("%w (in supervisor %s)", err, s.Name)
		}
	}
	return nil
}

func validateLimits(name string, maxRestarts *int, within time.Duration, b Backoff) error {
	switch {
	case name == "":
		return fmt.Errorf("%w: supervisor without a name", ErrSpec)
	case maxRestarts != nil && *maxRestarts < 0:
		return fmt.Errorf("%w: supervisor %s: MaxRestarts %d", ErrSpec, name, *maxRestarts)
	case within < 0:
		return fmt.Errorf("%w: supervisor %s: Within %v", ErrSpec, name, within)
	case b.First < 0 || b.Max < 0 || b.Max > 0 && b.Max < b.First:
		return fmt.Errorf("%w: supervisor %s: Backoff from %v to %v", ErrSpec, name, b.First, b.Max)
	}
	return nil
}

func (c *Child) validate(auto AutoShutdown) error {
	ways := 0
	for _, set := range []bool{c.Run != nil, c.RunReady != nil, c.Part != nil} {
		if set {
			ways++
		}
	}
	switch {
	case c.Name == "":
		return fmt.Errorf("%w: child without a name", ErrSpec)
	case ways != 1:
		return fmt.Errorf("%w: child %s: want one of Run, RunReady, Part; got %d", ErrSpec, c.Name, ways)
	case c.Restart > Temporary:
		return fmt.Errorf("%w: child %s: restart %v", ErrSpec, c.Name, c.Restart)
	case c.StopTimeout < 0:
		return fmt.Errorf("%w: child %s: StopTimeout %v", ErrSpec, c.Name, c.StopTimeout)
	case c.NoWait && c.StopTimeout != 0:
		return fmt.Errorf("%w: child %s: StopTimeout %v, but NoWait", ErrSpec, c.Name, c.StopTimeout)
	case c.Significant && c.Restart == Permanent:
		return fmt.Errorf("%w: child %s: significant, but permanent", ErrSpec, c.Name)
	case c.Significant && auto == Never:
		return fmt.Errorf("%w: child %s: significant, but the supervisor never shuts down by itself", ErrSpec, c.Name)
	}
	return nil
}

// stopTimeout is how long a stop waits for c: for a supervisor, as long as its own children take.
func (c *Child) stopTimeout() time.Duration {
	if c.NoWait || c.StopTimeout != 0 {
		return c.StopTimeout
	}
	switch c.Part.(type) {
	case *Supervisor, *Dynamic:
		return Forever
	}
	return DefaultStopTimeout
}

// run calls whichever function the child is made of.
func (c *Child) run(ctx context.Context, ready func()) error {
	switch {
	case c.Part != nil:
		return c.Part.RunReady(ctx, ready)
	case c.RunReady != nil:
		return c.RunReady(ctx, ready)
	default:
		return c.Run(ctx)
	}
}
