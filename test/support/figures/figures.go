// Package figures computes medians and percentiles of measurements and formats them as Markdown tables. It measures and
// judges nothing.
package figures

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode/utf8"
)

// Median returns the median. For an even number of values it is the mean of the two in the middle; without values it is
// NaN.
func Median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	s := slices.Sorted(slices.Values(values))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

// Percentile returns the smallest value that at least a share p of the sorted values does not exceed. Without values it
// is zero.
func Percentile[T cmp.Ordered](sorted []T, p float64) (v T) {
	if len(sorted) == 0 {
		return v
	}
	rank := int(math.Ceil(p * float64(len(sorted))))
	return sorted[min(max(rank, 1), len(sorted))-1]
}

// Table is a Markdown table. The first column is text, the others are figures.
type Table struct {
	Head []string
	rows [][]string
}

// NewTable returns an empty table with the given column heads.
func NewTable(head ...string) *Table { return &Table{Head: head} }

// Add adds a row. Missing cells at its end stay empty.
func (t *Table) Add(cells ...string) { t.rows = append(t.rows, cells) }

// String returns the table in Markdown, with aligned columns.
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

// None is the text of a cell without a figure.
const None = "–"

// Format formats v, or returns None if v is NaN or infinite.
func Format(v float64, format string) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return None
	}
	return fmt.Sprintf(format, v)
}
