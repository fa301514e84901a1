// Package spelling finds the known name that is nearest to a misspelled one, for messages.
package spelling

import "strings"

// Nearest returns the known name that name is most likely a misspelling of, or an empty string if none is near. It
// ignores case.
func Nearest(name string, known []string) string {
	const longest = 64 // the time that it takes grows with the length
	if len(name) > longest {
		return ""
	}
	best, bestDistance := "", len(name)/3+1
	for _, k := range known {
		if d := distance(strings.ToLower(name), strings.ToLower(k)); d < bestDistance {
			best, bestDistance = k, d
		}
	}
	return best
}

// distance is how many bytes must be put in, left out or exchanged to make a into b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
