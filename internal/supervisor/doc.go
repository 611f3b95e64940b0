// Package supervisor is OTP's supervisor in Go: it starts the parts of a program in order, restarts
// those that fail, and stops them in reverse order.
//
// # Contents
//
// Used by the worker and the packages below it:
//
//   - [Supervisor]: a fixed list of children, restarted by a [Strategy] within a budget, with a
//     [Backoff]. The tree of a worker and of the process are made of them.
//   - [Dynamic] with StartFunc: one child for each job, on goroutines that are used again.
//   - [Server], [Call] and [Self]: one goroutine that owns a state (OTP's gen_server). The registry's
//     agent is one.
//   - [Start]: runs a part for a caller that goes on.
//   - [Event], [Node]: what happened, for the log, and what is, for /healthz.
//   - [Ending] and [Go]: for package stages, whose parts tell each other of their ends.
//
// For programs that are made of parts, such as examples/scraper. The recorded cases of OTP and
// Elixir, in testdata, hold for all of them:
//
//   - [Supervisor.StartChild], StopChild, RestartChild and DeleteChild: children that come and go.
//   - [OneForAll], and [AllSignificant]: the last strategy, and the last way to end by itself.
//   - [Dynamic] with Start, StartReady, Stop and MaxChildren: children that are restarted.
//   - [Async], [Linked] and [AwaitAll]: tasks, which are functions whose results are waited for.
//   - [Stream]: a function applied to a sequence, several items at a time.
//
// To read the code, begin with spec.go (what a supervisor is told), supervisor.go (what it does) and
// restart_strategy.go (what it decides). instance.go is one run of one child.
//
// # Theory of operation
//
// A part of the program is a function that runs until its context is done and owns all it starts:
//
//	func(ctx context.Context) error
//
// A [Child] is such a function with a name and with what its end means: [Permanent] children are always
// started again, [Transient] ones unless they ended cleanly, [Temporary] ones never. It is clean to
// return nil or [ErrShutdown]; any other error, a panic and a Goexit are not. A [Supervisor] runs
// children, and being such a function itself it can be a child of another one. The program is a tree,
// whose leaves do the work and whose inner nodes only decide about those below them:
//
//	worker          RestForOne: a child that fails takes along those started later, which depend on it
//	├─ broker       a function
//	├─ registry     RestForOne
//	│  ├─ agent     a Server: one goroutine that owns a state
//	│  └─ watch     a function that sends it messages
//	├─ queue        OneForOne: children that do not need each other; OneForAll is for those that all do
//	│  ├─ puller
//	│  └─ runner    a Dynamic: any number of children, added while it runs
//	│     ├─ job
//	│     └─ job
//	└─ http
//
// Start is in order, each child after the one before it is ready, and all or nothing. Stop is in
// reverse order, and each child is waited for up to its StopTimeout before the next one is told. A
// restart stops, in that order, the children that the [Strategy] adds, and starts all of them again in
// theirs. Restarts may wait for a [Backoff]. More than MaxRestarts of them within a sliding window mean
// that restarting does not help: the supervisor gives up, says so in an [Event], stops its children and
// ends, and so becomes the failure of a child one level up. At the top, Run returns.
//
// # Guarantees
//
//   - A child is started at most 1 + MaxRestarts times in any period of length Within, by one
//     supervisor.
//   - No child runs after Run has returned, except those reported as abandoned. No goroutine is without
//     an owner.
//   - A stop takes at most the sum of the StopTimeouts; of a Dynamic, the longest of them.
//   - A panic of a child is an error with a stack, and never a clean end. It ends nothing but that
//     child.
//   - A restart is one line of the log: which supervisor restarts what, with which others, why and
//     when. Giving up is another, written before anything follows from it.
//   - The end of a child never waits for its supervisor. [Supervisor.Tree] answers whatever the
//     supervisor is doing.
//   - Decisions are pure functions (restart_strategy.go, restart_intensity.go, restart_backoff.go),
//     which tests compare with naive models; the rest is one goroutine for each supervisor that carries
//     them out.
//
// # Blind spots
//
// What the BEAM can do and Go cannot:
//
//   - A goroutine cannot be killed. A child that ignores its context for longer than its StopTimeout is
//     abandoned: it is counted ([Node].Abandoned), reported with its stack, and no longer waited for;
//     but it runs on, with all it holds. A program that sees their number grow should end. NoWait does
//     not kill either: it only does not wait.
//   - Memory is shared. What a failed child left behind in it, a half-written map or a held lock, its
//     successor finds. A child keeps its state to itself, best in a Server, whose Init makes a new one.
//   - A fatal error of the runtime, such as a concurrent map write or exhausted memory, ends the
//     process with all its supervisors. So does a panic in a goroutine that a child started by itself.
//   - The end of a goroutine is seen by its supervisor only. There are no links and monitors across the
//     tree; a linked task is tied to a context.
//   - A mailbox is bounded: a sender waits where Erlang's would go on. Timers do not wait in it, but
//     take turns with it.
package supervisor
