package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// checkText refuses what JSON cannot have, and what its decoder would replace.
func checkText(text []byte) error {
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRune(text[i:])
		if r == utf8.RuneError && size == 1 {
			return fmt.Errorf("not UTF-8: byte %d is 0x%02x; convert the file with iconv -t UTF-8", i+1, text[i])
		}
		i += size
	}
	return nil
}

// checkEscapes refuses half a character, \ud800 to \udfff without its other half.
func checkEscapes(text []byte) error {
	for i := 0; i+1 < len(text); i++ {
		if text[i] != '\\' {
			continue
		}
		i++ // what is escaped
		first := escaped(text[i:])
		if !utf16.IsSurrogate(first) {
			continue
		}
		if i+6 < len(text) && text[i+5] == '\\' && utf16.DecodeRune(first, escaped(text[i+6:])) != utf8.RuneError {
			i += 10 // both halves
			continue
		}
		return fmt.Errorf("\\%s is half a character", text[i:i+5])
	}
	return nil
}

// escaped is the character of the escape whose letter u text begins with; 0 if it is none.
func escaped(text []byte) rune {
	if len(text) < 5 || text[0] != 'u' {
		return 0
	}
	n, err := strconv.ParseUint(string(text[1:5]), 16, 16)
	if err != nil {
		return 0
	}
	return rune(n)
}

// checkJSON holds a payload typed by a person to the convention.
func checkJSON(b []byte) error {
	if !utf8.Valid(b) {
		return errors.New("not UTF-8, as JSON must be; bytes of any kind go by @FILE or -")
	}
	if json.Valid(b) {
		return nil
	}
	var v any
	err := json.Unmarshal(b, &v)
	return fmt.Errorf("%w; quote the JSON for the shell, as in '{\"to\":\"a@example.com\"}'", err)
}
