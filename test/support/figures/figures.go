// Package figures sums up what was measured, and puts it into tables of Markdown. It measures nothing, and judges nothing.
package figures

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode/utf8"
)

// Median of an even number of values is the mean of the two in the middle; of none it is not a number.
func Median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	s := slices.Sorted(slices.Values(values))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

// Percentile is the smallest value that at least a share p of sorted does not exceed; of none it is zero.
func Percentile[T cmp.Ordered](sorted []T, p float64) (v T) {
	if len(sorted) == 0 {
		return v
	}
	rank := int(math.Ceil(p * float64(len(sorted))))
	return sorted[min(max(rank, 1), len(sorted))-1]
}

// Table is one of Markdown. The first column is text, the others are figures.
type Table struct {
	Head []string
	rows [][]string
}

// NewTable is an empty one.
func NewTable(head ...string) *Table { return &Table{Head: head} }

// Add adds a row; what it lacks at its end stays empty.
func (t *Table) Add(cells ...string) { t.rows = append(t.rows, cells) }

// String is the table in Markdown, with columns of one width.
func (t *Table) String() string {
	widths := make([]int, len(t.Head))
	for _, row := range append([][]string{t.Head}, t.rows...) {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell), 3)
		}
	}
	var b strings.Builder
	line := func(cells []string) {
		for i, width := range widths {
			var cell string
			if i < len(cells) {
				cell = cells[i]
			}
			space := strings.Repeat(" ", width-utf8.RuneCountInString(cell))
			if i == 0 {
				b.WriteString("| " + cell + space + " |")
			} else {
				b.WriteString(" " + space + cell + " |")
			}
		}
		b.WriteString("\n")
	}
	line(t.Head)
	rule := make([]string, len(t.Head))
	for i, width := range widths {
		rule[i] = strings.Repeat("-", width-1) + ":"
	}
	rule[0] = strings.Repeat("-", widths[0])
	line(rule)
	for _, row := range t.rows {
		line(row)
	}
	return b.String()
}

// None stands where there is no figure.
const None = "–"

// Format is v, or None if it is not a number or infinite.
func Format(v float64, format string) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return None
	}
	return fmt.Sprintf(format, v)
}
