package explain

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/millhand/millhand/internal/job"
	"github.com/millhand/millhand/internal/registry"
	"github.com/millhand/millhand/internal/view"
)

// soon is how old a ready job may be that nothing keeps.
const soon = 2 * time.Second

// ready says what keeps a job that is due from being handed out.
func (e *explainer) ready() {
	m := e.Message
	e.at(job.Ready, m.Stored)
	e.cancelling()
	e.blockers()
	if n := len(e.answer.Reasons); n > 1 || n == 1 && !e.said(Cancelling) {
		return
	}
	switch age := e.At.Sub(m.Stored); {
	case !e.Surveyed:
		e.say(Reason{Code: Unexplained, Blocking: true, Text: "the registry does not answer, which knows of workers, limits and pauses: what keeps the job is not known"})
	case age < soon:
		e.say(Reason{Code: AboutToStart, Text: "it is about to start: a worker has a slot for it", Until: m.Stored.Add(soon).UTC()})
	case !e.said(Cancelling):
		e.say(Reason{Code: Unexplained, Blocking: true, Text: "nothing that is known keeps it, and yet no worker takes it: that is a fault"})
		e.advise("see whether the workers do their work", "millhand workers")
	}
}

// blockers are what keeps a job from being handed out, now or once its lease has ended.
func (e *explainer) blockers() {
	m := e.Message
	if m.Expired(e.At) {
		e.say(Reason{
			Code: Expired, Blocking: true, Since: m.Deadline().UTC(),
			Text: "it has not started within " + m.Expires.String() + ", which its sender asked for: it dies when a worker takes it, or looks through the queue",
		})
	}
	if !e.Surveyed {
		return
	}
	e.paused()
	served := e.served()
	if !served {
		e.noWorker()
	}
	e.limits()
	if !served {
		return
	}
	e.outranked()
	e.slots()
	e.behind()
}

func (e *explainer) paused() {
	queue, typ := e.answer.Queue, e.answer.Type
	if p, paused := e.Registry.Paused[queue]; paused {
		e.pausedBy(QueuePaused, "queue "+queue, queue, p)
	}
	if p, paused := e.Registry.PausedTypes[registry.LoadOf(queue, typ)]; paused {
		e.pausedBy(TypePaused, "type "+typ+" in queue "+queue, queue+"/"+typ, p)
	}
}

// pausedBy says what is paused, who did that and what for, and the name that ends it.
func (e *explainer) pausedBy(code Code, what, name string, p registry.Pause) {
	text := what + " is paused"
	if p.By != "" {
		text += " by " + p.By
	}
	if p.Reason != "" {
		text += fmt.Sprintf(": %q", p.Reason)
	}
	e.say(Reason{Code: code, Blocking: true, Text: text, Since: p.Since, Until: p.Until, Data: PauseData{By: p.By, Reason: p.Reason}})
	e.advise("let workers take jobs again", "millhand resume "+name)
}

// takes reports whether a worker takes new jobs of the type: it serves it, does not drain, and answers.
func (e *explainer) takes(n *registry.Node) bool {
	return n.State != registry.Draining && !slices.Contains(e.Located.Silent, n.ID)
}

// takers are the workers that take new jobs of the type.
func (e *explainer) takers() []registry.Node {
	return slices.DeleteFunc(e.Serving(), func(n registry.Node) bool { return !e.takes(&n) })
}

func (e *explainer) served() bool { return len(e.takers()) > 0 }

// noWorker says that nobody serves the job, and who comes near to it.
func (e *explainer) noWorker() {
	var near NearData
	queue, typ := e.answer.Queue, e.answer.Type
	for _, n := range e.Registry.Nodes {
		ofQueue, ofType := slices.Contains(n.Queues, queue), slices.Contains(n.Types, typ)
		switch {
		case ofQueue && ofType && n.State == registry.Draining:
			near.Draining = append(near.Draining, n.ID)
		case ofQueue && ofType:
			near.Silent = append(near.Silent, n.ID)
		case ofType:
			near.OtherQueues = append(near.OtherQueues, n.ID)
		case ofQueue:
			near.OtherTypes = append(near.OtherTypes, n.ID)
		}
	}
	text := fmt.Sprintf("no worker serves type %s in queue %s", typ, queue)
	switch {
	case len(near.Draining) > 0:
		text += fmt.Sprintf("; %s, and %s new jobs", some(near.Draining, "is draining", "are draining"), takes(near.Draining))
	case len(near.Silent) > 0:
		text += "; " + some(near.Silent, "does, and does not answer", "do, and do not answer")
	case len(near.OtherQueues) > 0:
		text += "; " + some(near.OtherQueues, "serves the type, and not this queue", "serve the type, and not this queue")
	case len(near.OtherTypes) > 0:
		text += "; " + some(near.OtherTypes, "serves the queue, and not this type", "serve the queue, and not this type")
	case len(e.Registry.Nodes) == 0:
		text += ": there are no workers"
	}
	if of := e.readers(typ); of != "" {
		text += "; the pipeline " + of + " reads the stream " + typ + ", and does not take its jobs: it needs millhand.WithRetries"
	}
	if of := e.unserved(typ); of != "" {
		text += "; the pipeline " + of + ", which reads the stream " + typ + ", runs nowhere"
	}
	e.say(Reason{Code: NoWorker, Blocking: true, Text: text, Data: near})
	e.advise("see which workers there are", "millhand workers")
	e.advise("start a worker for it", "")
	e.advise("or cancel the job", "millhand cancel "+e.ref())
}

// readers names a pipeline that reads a stream whose dead messages are jobs of a type.
func (e *explainer) readers(typ string) string {
	for _, n := range e.Registry.Readers {
		for _, p := range n.Pipelines {
			if p.Stream == typ {
				return p.Name
			}
		}
	}
	return ""
}

// unserved names a pipeline of that kind which no process serves.
func (e *explainer) unserved(typ string) string {
	for _, k := range e.Registry.Unserved() {
		if k.Stream == typ {
			return k.Name
		}
	}
	return ""
}

func takes(names []string) string {
	if len(names) == 1 {
		return "takes no"
	}
	return "take no"
}

// some names up to three of them.
func some(names []string, one, many string) string {
	const named = 3
	switch n := len(names); {
	case n == 1:
		return names[0] + " " + one
	case n > named:
		return fmt.Sprintf("%s and %d more %s", strings.Join(names[:named], ", "), n-named, many)
	}
	return strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1] + " " + many
}

// outranked says that jobs wait in queues that every worker prefers.
func (e *explainer) outranked() {
	if !e.Heavier.Known() || e.Heavier.Value == 0 {
		return
	}
	data := QueuesData{Jobs: e.Heavier.Value, How: string(e.Heavier.How)}
	for _, n := range e.takers() {
		for q, weight := range n.StrictWeights {
			if weight > n.StrictWeights[e.answer.Queue] && !slices.Contains(data.Queues, q) {
				data.Queues = append(data.Queues, q)
			}
		}
	}
	slices.Sort(data.Queues)
	e.say(Reason{
		Code: Outranked, Blocking: true, Data: data,
		Text: count(int(data.Jobs), "job waits", "jobs wait") + " in queues that go first: " + strings.Join(data.Queues, ", "),
	})
	e.advise("see what waits there", "millhand queues "+data.Queues[0])
}

// slots says that every worker which could take the job runs all that it may.
func (e *explainer) slots() {
	data := SlotsData{Used: make(map[string]int)}
	for _, n := range e.takers() {
		if e.free(&n) > 0 {
			return
		}
		data.Workers = append(data.Workers, n.ID)
		data.Slots += n.Concurrency
		for of, load := range n.ByType {
			data.Used[of] += load.Hand
		}
	}
	text := fmt.Sprintf("all %d slots of the %d workers that serve it are taken", data.Slots, len(data.Workers))
	if len(data.Workers) == 1 {
		text = fmt.Sprintf("%s, the one worker that serves it, has no slot free of %d", data.Workers[0], data.Slots)
	}
	if by := mostly(data.Used); by != "" {
		text += ": " + by
	}
	if of := e.pipelines(); of != "" {
		text += "; jobs go to " + of + ", and no more than it asks for"
	}
	e.say(Reason{Code: SlotsFull, Blocking: true, Text: text, Data: data})
	e.advise("see what runs, the longest first", "millhand running")
}

// pipelines names those that the workers which could take the job pass it to, and what they have in hand.
func (e *explainer) pipelines() string {
	inHand := make(map[string]int)
	for _, n := range e.takers() {
		for _, p := range n.Pipelines {
			inHand[p.Name] += p.InHand
		}
	}
	var all []string
	for _, name := range slices.Sorted(maps.Keys(inHand)) {
		all = append(all, fmt.Sprintf("the pipeline %s (%d in hand)", name, inHand[name]))
	}
	return strings.Join(all, " and ")
}

// free is how many jobs a worker could take: as it says when it is asked, else as it wrote last.
func (e *explainer) free(n *registry.Node) int {
	if free, told := e.Located.Free[n.ID]; told {
		return free
	}
	if n.SlotsFree != nil {
		return *n.SlotsFree
	}
	return max(n.Concurrency-n.RunningTotal, 0)
}

// mostly names the three types that use most.
func mostly(used map[string]int) string {
	const named = 3
	of := slices.SortedFunc(maps.Keys(used), func(a, b string) int {
		if used[a] != used[b] {
			return used[b] - used[a]
		}
		return strings.Compare(a, b)
	})
	parts := make([]string, 0, named)
	for _, t := range of[:min(named, len(of))] {
		parts = append(parts, fmt.Sprintf("%s %d", t, used[t]))
	}
	return strings.Join(parts, ", ")
}

// behind says how many go first.
func (e *explainer) behind() {
	before := e.Before
	if before.Known() && before.Value == 0 {
		return
	}
	data := BehindData{Jobs: before.Value, How: string(before.How)}
	text := count(int(before.Value), "other of its type goes first", "others of its type go first")
	switch {
	case !before.Known() && e.Consumer != nil && e.Consumer.NumPending > 1:
		data.How = string(view.Unknown)
		text = "up to " + count(int(e.Consumer.NumPending-1), "other of its type goes first", "others of its type go first") //nolint:gosec // as many as there is room for
	case !before.Known():
		return
	case before.How == view.About:
		text = "about " + text
	}
	data.PerMinute = e.StartsPerMinute
	if data.PerMinute > 0 {
		text += "; " + perMinute(data.PerMinute)
	}
	e.say(Reason{Code: Behind, Blocking: true, Text: text, Data: data})
}

// turn is when a job starts that nothing keeps but those before it, if they go on as lately; zero if that
// is not known.
func (d *BehindData) turn(now time.Time) time.Time {
	if d.PerMinute <= 0 || d.Jobs == 0 {
		return time.Time{}
	}
	return now.Add(time.Duration(float64(d.Jobs) / d.PerMinute * float64(time.Minute))).UTC()
}

// perMinute is a rate in words.
func perMinute(n float64) string {
	switch {
	case n < 1:
		return fmt.Sprintf("%.1f start in a minute", n)
	case n < 120:
		return fmt.Sprintf("%.0f start in a minute", n)
	}
	return fmt.Sprintf("%.0f start in a second", n/60)
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return thousands(n) + " " + many
}

// thousands is a number in groups of three digits.
func thousands(n int) string {
	const group = 1000
	if n < group {
		return strconv.Itoa(n)
	}
	return fmt.Sprintf("%s,%03d", thousands(n/group), n%group)
}
