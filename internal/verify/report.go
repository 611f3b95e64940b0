package verify

import "time"

// A Status is what came of a check.
type Status string

// The statuses.
const (
	Passed   Status = "ok"
	Violated Status = "violated"
	Skipped  Status = "skip" // it looked at nothing, or could not look
)

// A Report is what came of all checks. Its JSON is a contract.
type Report struct {
	Namespace string    `json:"namespace"`
	Server    string    `json:"server"`
	At        time.Time `json:"at"` // of the first look, by the broker's clock
	Looks     int       `json:"looks"`
	Took      float64   `json:"took_s"`
	Checks    []Result  `json:"checks"`
	OK        int       `json:"ok"`
	Violated  int       `json:"violated"`
	Skipped   int       `json:"skipped"`
}

// A Result is what came of a check.
type Result struct {
	ID        string    `json:"id"`
	Class     Class     `json:"class"`
	Invariant string    `json:"invariant"` // what is to be true
	Status    Status    `json:"status"`
	LookedAt  int64     `json:"looked_at"`
	Of        int64     `json:"of,omitempty"` // how many there are, if it did not look at all of them
	What      string    `json:"what,omitempty"`
	Why       string    `json:"why,omitempty"` // it was skipped
	Advice    string    `json:"advice,omitempty"`
	Doc       string    `json:"doc"` // where more is said
	Findings  []Finding `json:"findings,omitempty"`
}

// A Finding is something that should not be.
type Finding struct {
	About string   `json:"about"` // the same at each look that sees the same
	Text  string   `json:"text"`
	Seqs  []uint64 `json:"sequences,omitempty"`

	// When it was seen, by the broker's clock.
	Seen []time.Time `json:"seen"`
	// Facts are what it was made of, without payloads, errors and results.
	Facts any `json:"facts,omitempty"`
}

// A judgement is what a check says of one look.
type judgement struct {
	lookedAt, of int64
	what         string // it looked at
	why          string // it is skipped, if it looked at nothing
	findings     []Finding
}

// skip is the judgement of a check that does not apply.
func skip(why string) judgement { return judgement{why: why} }

// maxFindings is how many findings of a check are kept, and maxSeqs how many sequences one names.
const (
	maxFindings = 100
	maxSeqs     = 20
)

func (j *judgement) find(about, text string, facts any, seqs ...uint64) {
	if len(j.findings) >= maxFindings {
		return
	}
	j.findings = append(j.findings, Finding{About: about, Text: text, Seqs: seqs[:min(len(seqs), maxSeqs)], Facts: facts})
}
