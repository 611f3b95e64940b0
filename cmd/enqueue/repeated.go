package main

import (
	"encoding/json"
	"strings"
)

// repeatedKey returns the first key of a JSON object that is there twice, as a decoder sees it
// that does not mind the case. Objects within it do not count. The text is known to be an object.
func repeatedKey(object []byte) (key string, ok bool) {
	var keys []string
	depth, isKey := 0, false
	for i := 0; i < len(object); i++ {
		switch object[i] {
		case '{', '[':
			depth++
			isKey = depth == 1
		case '}', ']':
			depth--
		case ',':
			isKey = depth == 1
		case '"':
			end := endOfString(object, i)
			if isKey {
				isKey = false
				key := textOf(object[i:end])
				for _, k := range keys {
					if strings.EqualFold(k, key) {
						return key, true
					}
				}
				keys = append(keys, key)
			}
			i = end - 1
		}
	}
	return "", false
}

// endOfString returns where the string that begins at i has ended.
func endOfString(text []byte, i int) int {
	for i++; i < len(text) && text[i] != '"'; i++ {
		if text[i] == '\\' {
			i++
		}
	}
	return min(i+1, len(text))
}

func textOf(quoted []byte) string {
	var s string
	_ = json.Unmarshal(quoted, &s) // it was decoded before
	return s
}
