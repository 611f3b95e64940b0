package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/millhand/millhand/internal/cli"
)

// A format is what -o asks for. It implements pflag.Value.
type format string

const (
	formatText   format = "text"
	formatJSON   format = "json"   // one object
	formatNDJSON format = "ndjson" // of a list: one object a line
	formatName   format = "name"   // of a list: what its entries are called, one a line
	formatCSV    format = "csv"    // of statistics: a row for each step
)

// ofList are the formats of a list.
func ofList() []format { return []format{formatText, formatJSON, formatNDJSON, formatName} }

func (f *format) String() string { return string(*f) }

// Type implements pflag.Value.
func (f *format) Type() string { return "format" }

// Set implements pflag.Value.
func (f *format) Set(s string) error {
	switch v := format(s); v {
	case formatText, formatJSON, formatNDJSON, formatName, formatCSV:
		*f = v
		return nil
	}
	return errors.New("must be text, json, ndjson or name; csv of stats")
}

// A listing is how the entries of a list are printed.
type listing[T any] struct {
	key     string // of the list in the object that -o json prints
	columns []column
	row     func(T) []cell
	name    func(T) string
	object  func([]T) any         // what -o json prints; nil: an object with the list alone
	foot    func(io.Writer) error // written below the table; nil: nothing
	empty   string                // what is said instead of a table without rows
}

// print prints entries as -o has it.
func (l *listing[T]) print(a *app, entries []T) error {
	switch a.output {
	case formatJSON:
		if entries == nil {
			entries = []T{}
		}
		if l.object != nil {
			return a.json(l.object(entries))
		}
		return a.json(map[string]any{l.key: entries})
	case formatNDJSON:
		for _, e := range entries {
			if err := a.jsonLine(e); err != nil {
				return err
			}
		}
		return nil
	case formatName:
		for _, e := range entries {
			if _, err := fmt.Fprintln(a.out, l.name(e)); err != nil {
				return err
			}
		}
		return nil
	case formatText, formatCSV:
	}
	if len(entries) == 0 {
		_, err := fmt.Fprintln(a.err, l.empty) // so that a pipe gets nothing
		return err
	}
	t := a.table(l.columns...)
	for _, e := range entries {
		t.add(l.row(e)...)
	}
	if err := t.write(a.out); err != nil || l.foot == nil {
		return err
	}
	return l.foot(a.out)
}

// json prints an object for people and programs.
func (a *app) json(object any) error {
	enc := json.NewEncoder(a.out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(object)
}

// jsonLine prints an object on a line.
func (a *app) jsonLine(object any) error {
	enc := json.NewEncoder(a.out)
	enc.SetEscapeHTML(false)
	return enc.Encode(object)
}

// say prints a line of text. Words of others in it cannot break out of it.
func (a *app) say(format string, args ...any) error {
	_, err := fmt.Fprintln(a.out, line(format, args...))
	return err
}

// printLines prints lines, which may be indented.
func (a *app) printLines(lines []string) error {
	for _, l := range lines {
		indent := l[:len(l)-len(strings.TrimLeft(l, " "))]
		if _, err := fmt.Fprintln(a.out, indent+cli.OneLine(l)); err != nil {
			return err
		}
	}
	return nil
}

// warn prints a line on standard error.
func (a *app) warn(format string, args ...any) {
	_, _ = fmt.Fprintln(a.err, "millhand: "+line(format, args...)) // the exit code still tells
}

// line is a text of one line, which may be indented.
func line(format string, args ...any) string {
	indent := format[:len(format)-len(strings.TrimLeft(format, " "))]
	return indent + cli.OneLine(fmt.Sprintf(format, args...))
}
