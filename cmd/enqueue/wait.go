package main

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/millhand/millhand"
	"github.com/millhand/millhand/internal/timespan"
)

// joinDuration has --wait 5s mean the same as --wait=5s, for a flag that may stand alone: to the
// parser of flags what follows is an argument of its own. It is the duration if it looks like one, and
// cannot be what it would be otherwise: a payload is JSON, and one job needs a type. Where it
// could be either, it is what it was before.
func joinDuration(fs *pflag.FlagSet, args []string, flag string) []string {
	at := -1              // of the duration
	var operands []string // the other arguments that are no flags
	from := false         // jobs come from a file: then no type is needed
	for i := 0; i < len(args) && !strings.HasPrefix(args[0], "__complete"); i++ {
		arg := args[i]
		switch {
		case arg == "--":
			operands = append(operands, args[i+1:]...)
			i = len(args)
		case arg == flag && at < 0 && i+1 < len(args) && isDuration(args[i+1]):
			i++
			at = i
		case len(arg) > 1 && arg[0] == '-':
			from = from || strings.HasPrefix(arg+"=", "--from=")
			if takesNext(fs, arg) {
				i++
			}
		default:
			operands = append(operands, arg)
		}
	}
	if at < 0 || !from && (len(operands) == 0 || millhand.CheckType(operands[0]) != nil) {
		return args
	}
	return slices.Concat(args[:at-1], []string{flag + "=" + args[at]}, args[at+1:])
}

// isDuration reports whether s is a duration, and no payload.
func isDuration(s string) bool {
	return timespan.Is(s) && !strings.HasPrefix(s, "-") && !json.Valid([]byte(s))
}

// takesNext reports whether the argument after a flag is its value.
func takesNext(fs *pflag.FlagSet, arg string) bool {
	if name, long := strings.CutPrefix(arg, "--"); long {
		f := fs.Lookup(name) // not found with a value in it
		return f != nil && f.NoOptDefVal == ""
	}
	for i, c := range arg[1:] {
		f := fs.ShorthandLookup(string(c))
		if f == nil {
			return false
		}
		if f.NoOptDefVal == "" {
			return i == len(arg)-2
		}
	}
	return false
}
