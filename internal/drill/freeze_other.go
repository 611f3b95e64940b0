//go:build !unix

package drill

import (
	"errors"
	"os"
)

var errNoSignals = errors.New("a drill needs the signals of Unix")

func freeze(*os.Process) error { return errNoSignals }
func wake(*os.Process) error   { return errNoSignals }
func drain(*os.Process) error  { return errNoSignals }
