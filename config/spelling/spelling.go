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

// distance is how many bytes must be inserted, deleted, replaced or swapped with the next one to make a into b.
func distance(a, b string) int {
	before, row := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		next := make([]int, len(b)+1)
		next[0] = i + 1
		for j := range len(b) {
			cost := row[j]
			if a[i] != b[j] {
				cost++
			}
			next[j+1] = min(cost, next[j]+1, row[j+1]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				next[j+1] = min(next[j+1], before[j-1]+1)
			}
		}
		before, row = row, next
	}
	return row[len(b)]
}
