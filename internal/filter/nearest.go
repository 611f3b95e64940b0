package filter

import "strings"

// Nearest returns the one of the known words that differs least from what was written, and an empty
// string if all of them differ too much to be meant. Of two it is the one that goes on as it begins.
func Nearest(written string, known []string) string {
	nearest, least := "", len(written)/2+1
	for _, k := range known {
		d := distance(written, k, least+1)
		if d < least || d == least && nearest != "" && strings.HasPrefix(k, written) {
			nearest, least = k, d
		}
	}
	return nearest
}

// distance is how many letters are left out, too many, changed, or swapped with the next one, or most
// if it is at least that (Damerau's distance, of which no letter takes part twice).
func distance(a, b string, most int) int {
	if max(len(a), len(b))-min(len(a), len(b)) >= most {
		return most
	}
	before, row, next := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		next[0] = i + 1
		for j := range len(b) {
			changed := row[j]
			if a[i] != b[j] {
				changed++
			}
			next[j+1] = min(changed, next[j]+1, row[j+1]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				next[j+1] = min(next[j+1], before[j-1]+1)
			}
		}
		before, row, next = row, next, before
	}
	return row[len(b)]
}
