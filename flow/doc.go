// Package flow computes over collections of events with all cores of this process: what is in files,
// slices and channels, or in the past of a stream. It counts, groups, joins and windows; the result is an
// ordinary Go loop. It is the Flow of Elixir (https://hexdocs.pm/flow), with types.
//
//	lines := flow.FlatTry(flow.From(slices.Values(files)).Stages(4), read)  // 4 goroutines read
//	words := flow.FlatMap(lines, strings.FieldsSeq)                         // … and split
//	counts := flow.CountBy(flow.By(words, strings.ToLower))                 // each word is counted in one place
//	for c, err := range counts.All(ctx) {
//		if err != nil {
//			return err
//		}
//		fmt.Println(c.Value, c.Key)
//	}
//
// # When not to use it
//
//   - A loop does it. One goroutine and no keys is a for statement; a flow of one is not faster.
//   - What is lost when the process ends must not be lost: a flow acknowledges nothing and keeps its state
//     in memory. It is for what can be computed again. Messages that have to be settled are for a pipeline
//     (package millhand/pipeline).
//   - The events are in a database, which groups and joins them where they are.
//   - A call a job, on any machine, with retries: that is a job, and millhand.Map is the loop over jobs.
//   - A few functions side by side: sync.WaitGroup or errgroup.
//
// # Steps
//
// A [Stream] is a description. A step that changes the type of the events is a function, which has the
// stream first; one that keeps it is a method. So a flow reads from top to bottom, a line a step:
//
//	From(slices.Values(names))       where events come from: any iter.Seq
//	FromErr FromChan FromFunc        a sequence with errors, such as stream.Read of millhand/pipeline/stream; others
//	Merge(a, b)                      several streams as one
//	Map(s, f)                        one event of each; f cannot fail
//	Try(s, f)                        one event of each; f has a context and returns an error
//	FlatMap(s, f) FlatTry(s, f)      any number of events of each, as a sequence
//	MapBatch(s, f)                   f gets many at once: one query instead of hundred
//	s.Filter(f) s.Each(f) s.Take(n)  keep some; look at all; end early
//	s.OnError(f) s.Named("…")        about the step right before
//	s.Stages(n) s.Ordered(n)         goroutines begin: see Layers
//	By(s, key)                       keys begin: see Keys
//	s.Run(ctx) s.All(ctx) Collect    run it
//
// The function of FlatMap and FlatTry returns a sequence, as [strings.FieldsSeq] does. One of its own is
// a function that yields:
//
//	func read(ctx context.Context, name string) iter.Seq2[string, error] {
//		return func(yield func(string, error) bool) {
//			f, err := os.Open(name)
//			if err != nil {
//				yield("", err) // the last thing it does
//				return
//			}
//			defer f.Close()
//			s := bufio.NewScanner(f)
//			for s.Scan() {
//				if !yield(s.Text(), nil) {
//					return // nobody wants more
//				}
//			}
//			if err := s.Err(); err != nil {
//				yield("", err)
//			}
//		}
//	}
//
// A step is called with one event after the other, in the order of its goroutine. A function that is used
// in several goroutines must be safe for that; most are, since they only look at their argument.
//
// # Demand
//
// Nothing is read before it is wanted. Events are asked for from below: the goroutine that runs a step asks
// the one above for some, and that one waits until it does, in the middle of a long sequence, too. So a file of
// any size goes through FlatTry in constant memory, and a source of a billion events is read only as fast
// as they are used: at most 1000 events a goroutine are asked for or in hand. How many at once adapts to how
// long they take: one by one where an event is a file, by 500 where it is a number. [Stream.Demand] fixes it.
//
// Events travel in these batches, and nothing is said about how they are cut. No goroutine waits for a batch
// to fill up. The exception is a sequence, given to From or returned to FlatMap, which is fast first and then
// blocks: see [From].
//
// # Layers
//
// Steps run on the goroutine of their source until a layer begins: at Stages(n) and Ordered(n), with n
// goroutines; at By, with one for each partition; at Merge, Join and Gather, with one. All steps up to the
// next layer run there, one after the other, without any hand-over between them. A flow without a layer
// runs on the goroutine of its caller.
//
//	From(names) ──► [ FlatTry read · FlatMap split ] ×4 ──► [ count ] ×GOMAXPROCS ──► the loop
//	     source           Stages(4)                            By                     All
//
// So Stages stands before the steps that are to run in parallel. Handing over costs more than a function of
// some nanoseconds: a layer pays for reading, parsing, compressing, and for whatever waits, such as a request.
// For waiting, n can be much larger than the number of cores.
//
// # Order
//
// On one goroutine events stay in order. Behind Stages(n) they do not. Behind Ordered(n) they do again, at the
// price that a slow one finally holds up the others. The events of one key reach its partition in the order
// in which each goroutine above hands them on: with By right behind the source, or behind Ordered, that is the
// order of the source. Streams that are merged are in order each.
//
// # Keys
//
// [By] gives each event a key, and each key a partition, which is a goroutine: what is kept for a key needs no
// lock. What follows says what is made of the events of each key, and is a stream again:
//
//	CountBy(k)                       their number, as a Group
//	Fold(k, zero, f)                 one value of them, as a Group
//	Uniq(k)                          the first of them, at once
//	Scan(k, zero, f, end)            what f makes of each and of what it keeps for the key, at once
//	Join(kind, k, l)                 pairs with the events of another stream that have the same key
//	Reduce(k, zero, f)               one value of each partition: then Emit, OnTrigger or Gather
//	Top(s, n, compare)               of a stream, without keys: its n greatest, in one slice
//
// Groups come at the end of the events, in no order: there has to be an end, or a window. State is one value a
// key and lives in memory; [Keyed.MaxKeys] makes too many of them an error, and a [Meter] tells how many there are.
//
// # Windows
//
// With [Keyed.Within] results come for parts of the events, while others still come:
//
//	minutes := flow.Fixed(time.Minute, Click.Time).Delay(5 * time.Second).Late(5 * time.Minute)
//	for g, err := range flow.CountBy(flow.By(clicks, page).Within(minutes)).All(ctx) {
//		…  // g.Key, g.Value, g.Pane.Start, g.Pane.Trigger
//	}
//
//	Global                           all events: for triggers
//	Count(n) Periodic(d)             so many events; what arrives in a time of this process
//	Fixed(d, at) Sliding(d, step, at)  by the time of the events, which at returns
//	Session(gap, at)                 likewise, from one pause to the next
//
// Event time has its own clock, the watermark: the greatest time that the slowest source has shown, less Delay. It
// closes windows, so the same events give the same results however fast they are read. A window whose end it
// has passed comes with the trigger [Done]. With Late(d) each window comes twice: as [Watermark] first, and as
// Done, with all that it got until then, when it takes no more events, d later. Who adds up results takes those
// of which [Pane].Final is true. An event that is later still is dropped and counted in [Pane].Dropped, and
// [Window.OnLate] gets it. A source that is silent holds windows open until [Window.IdleAfter]. All this is
// exact where By stands right behind the sources or an Ordered layer; see [Keyed.Within].
//
// [Window.EveryN], [Window.EveryPeriod] and [Window.When] also emit what there is of an open window.
//
// # Errors
//
// The first error ends the flow. All goroutines have ended when Run, Collect or the loop over All sees it.
// Results that were on their way are dropped, and so is what windows and folds had of the events before it.
//
//   - The function of a Try, FlatTry or MapBatch failed: an [*ItemError] with the event and the name of
//     the step. [Stream.OnError] right behind it decides which of them end the flow.
//   - A function panicked: a [*PanicError] with value and stack. It ends the flow, not the process.
//   - A source failed: its error, as it is.
//   - The description is wrong: [ErrInvalid], before anything starts.
//   - ctx has ended: its [context.Cause]. What ran until then is dropped.
//
// Leaving the loop over All, and [Stream.Take], are no errors. Both stop what is above and wait for it: so a
// function that ignores its context, and a sequence that blocks, hold up the end. What windows and folds
// above have by then is dropped, since it is not all. No goroutine is left behind.
package flow
