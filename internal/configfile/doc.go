// Package configfile reads the file of --config, of YAML, for the commands that have one. What could be taken for something
// else than it was meant for is an error with its place: a key that is not known or is there twice, a value that is none,
// a number that another reader would take for another one.
package configfile
