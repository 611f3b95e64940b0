package filter

// Nearest returns the one of the known words that differs least from what was written, and an empty
// string if all of them differ too much to be meant.
func Nearest(written string, known []string) string {
	nearest, least := "", len(written)/2+1
	for _, k := range known {
		if d := distance(written, k, least); d < least {
			nearest, least = k, d
		}
	}
	return nearest
}

// distance is Levenshtein's, or most if it is at least that.
func distance(a, b string, most int) int {
	if max(len(a), len(b))-min(len(a), len(b)) >= most {
		return most
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			changed := diagonal
			if a[i] != b[j] {
				changed++
			}
			diagonal = row[j+1]
			row[j+1] = min(changed, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
