package problem

import (
	"time"

	"github.com/millhand/millhand/internal/tally"
)

// A Code names a kind of problem. Codes are a contract: some are added, and none is renamed.
type Code string

// The codes.
const (
	NoWorker        Code = "no_worker"
	Stalled         Code = "stalled"
	NotPulled       Code = "not_pulled"
	Late            Code = "late"
	Dying           Code = "dying"
	Failing         Code = "failing"
	UnclaimedInHand Code = "unclaimed_in_hand"
	Lost            Code = "lost"
	PausedLong      Code = "paused_long"
	QuotaIdle       Code = "quota_idle"
	ScheduleLate    Code = "schedule_late"
	Stuck           Code = "stuck"
	Rebuilt         Code = "rebuilt"
	Clock           Code = "clock"
	Leaderless      Code = "leaderless"
	Lagging         Code = "lagging"
	Disk            Code = "disk"
	Versions        Code = "versions"
	StatsGap        Code = "stats_gap"
	DrainLong       Code = "drain_long"
	Unserved        Code = "unserved"
)

// A Level says how bad a problem is.
type Level string

// The levels, the worst first.
const (
	Error   Level = "error"   // jobs do not run, or will not
	Warning Level = "warning" // something is not as it should be
	Notice  Level = "notice"  // something that may have been forgotten
)

// Levels returns all of them, the worst first.
func Levels() []Level { return []Level{Error, Warning, Notice} }

// A Kind is what a code means.
type Kind struct {
	ID    string // "P01"
	Code  Code
	Level Level // of most of them
	Means string
}

// Kinds returns all there are, by their numbers.
func Kinds() []Kind {
	return []Kind{
		{"P01", NoWorker, Error, "jobs are ready, and no worker serves their type in that queue"},
		{"P02", Stalled, Error, "jobs of a type run, and none has ended for far longer than they take"},
		{"P03", NotPulled, Error, "jobs are ready, workers could take them, and none is handed out"},
		{"P04", Late, Warning, "the oldest ready job of a queue waits for longer than it should"},
		{"P05", Dying, Warning, "over 1 % of what ended in ten minutes died, and more than ten"},
		{"P06", Failing, Warning, "over 20 % of what ended in ten minutes failed, of twenty or more"},
		{"P07", UnclaimedInHand, Warning, "jobs were handed out, and no worker says that it has them"},
		{"P08", Lost, Warning, "workers lost the leases of jobs in the last ten minutes"},
		{"P09", PausedLong, Notice, "a queue or a type is paused for over an hour"},
		{"P10", QuotaIdle, Warning, "a worker keeps permits that it does not use, while others want them"},
		{"P11", ScheduleLate, Error, "the broker makes jobs ready late whose time has come"},
		{"P12", Stuck, Warning, "handlers ignore the end of their context, and were given up"},
		{"P13", Rebuilt, Warning, "a subscription stopped delivering in the last ten minutes, and was made again"},
		{"P14", Clock, Warning, "a worker's clock is off by more than two seconds"},
		{"P15", Leaderless, Error, "a stream or a consumer has no leader, or does not answer"},
		{"P16", Lagging, Warning, "a replica of a stream is behind"},
		{"P17", Disk, Warning, "the store is nearly full, or history is shorter than an hour"},
		{"P18", Versions, Notice, "workers are of versions that differ in what they know, or the server is too old"},
		{"P19", StatsGap, Notice, "statistics have not been summed up for three minutes"},
		{"P20", DrainLong, Warning, "a worker drains for longer than it is to"},
		{"P21", Unserved, Error, "messages of a stream wait for a pipeline, and no process serves it"},
	}
}

// kindOf returns the kind of a code.
func kindOf(c Code) Kind {
	for _, k := range Kinds() {
		if k.Code == c {
			return k
		}
	}
	return Kind{Code: c}
}

// A Problem is one thing that is wrong. The names of its fields as JSON are a contract.
type Problem struct {
	ID      string    `json:"id"` // "P01"
	Code    Code      `json:"code"`
	Level   Level     `json:"level"`
	Subject string    `json:"subject,omitempty"` // what it is about: "media/resize", "default", "email", a worker, a stream, a limit; empty: the namespace
	Since   time.Time `json:"since,omitzero"`    // it is so since then at least, by the broker's clock; zero: not known
	Text    string    `json:"text"`              // what is wrong, without since when
	Advice  *Advice   `json:"advice,omitempty"`

	About string `json:"-"` // the two parts of the text: what it is about,
	Is    string `json:"-"` // and what is so
}

// An Advice is what can be done about a problem.
type Advice struct {
	Text    string `json:"text"`
	Command string `json:"command,omitempty"` // complete; empty: there is none for it
}

// A Gap says which problems could not be looked for.
type Gap struct {
	Codes []Code `json:"codes"`
	Why   string `json:"why"`
}

// A Report is what one look found.
type Report struct {
	At       time.Time
	Problems []Problem    // the worst first
	Unknown  []Gap        // what could not be looked for
	Signs    []tally.Sign // what is to be noted with the minute

	Begun []Problem    // those of Problems that the look of the last minute did not see
	Over  []tally.Sign // what were problems then, and are none any more
}
