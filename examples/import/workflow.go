package main

import (
	"iter"
	"time"

	"github.com/millhand/millhand"
)

// partSize is how much of the file one job loads, in bytes.
const partSize = 2 << 10

// maxLost is how many parts of a file may be lost without the import.
const maxLost = 5

// The steps' jobs. Each names the import that it is of.
type (
	fetch struct { // brings the file here
		Import, URL string
		Size        int64
	}
	load struct { // loads the lines that begin in a part of the file
		Import string
		Part   int
	}
	report   struct{ Import string } // sums up the parts
	publish  struct{ Import string } // shows the rows to everybody, if somebody approved
	withdraw struct{ Import string } // takes them back
	announce struct{ Import string }
	clean    struct{ Import string } // removes what only the import needs
)

func (fetch) Type() string    { return "fetch" }
func (load) Type() string     { return "load" }
func (report) Type() string   { return "report" }
func (publish) Type() string  { return "publish" }
func (withdraw) Type() string { return "withdraw" }
func (announce) Type() string { return "announce" }
func (clean) Type() string    { return "clean" }

// parts are the jobs that load a file.
func parts(name string, size int64) iter.Seq[millhand.Args] {
	return func(yield func(millhand.Args) bool) {
		for n := range int((size + partSize - 1) / partSize) {
			if !yield(load{Import: name, Part: n}) {
				return
			}
		}
	}
}

// An order is what is to be imported, and how.
type order struct {
	name    string
	url     string
	size    int64         // of the file
	decide  time.Duration // within which somebody has to approve
	embargo time.Duration // between the publication and its announcement
}

// newImport describes the import: nothing of it names a worker, and whoever dies amid it is followed by others.
func newImport(o order) *millhand.Workflow {
	w := millhand.NewWorkflow("import of "+o.url, millhand.WorkflowConfig{ID: o.name, Deadline: 48 * time.Hour})
	fetched := w.Step("fetch", fetch{o.name, o.url, o.size})
	loaded := w.Group("load", parts(o.name, o.size), millhand.After(fetched), millhand.Tolerate(maxLost), millhand.KeepResults())
	reported := w.Step("report", report{o.name}, millhand.After(loaded))
	approved := w.Signal("approved")
	expired := w.Sleep("expired", o.decide, millhand.After(reported))
	published := w.Step("publish", publish{o.name},
		millhand.After(reported), millhand.AfterAny(approved, expired), millhand.Undo(withdraw{o.name}))
	embargo := w.Sleep("embargo", o.embargo, millhand.After(published))
	announced := w.Step("announce", announce{o.name}, millhand.After(embargo))
	w.Step("clean", clean{o.name}, millhand.AfterEnd(loaded, announced), millhand.Optional())
	return w
}
