package main

import (
	"fmt"
	"math"
	"strings"
	"time"
	"unicode/utf8"
)

// table is one of Markdown. The first column is text, the others are figures.
type table struct {
	head []string
	rows [][]string
}

func newTable(head ...string) *table { return &table{head: head} }

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

func (t *table) String() string {
	widths := make([]int, len(t.head))
	for _, row := range append([][]string{t.head}, t.rows...) {
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
	line(t.head)
	rule := make([]string, len(t.head))
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

// none stands where there is no figure.
const none = "–"

func figure(v float64, format string) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return none
	}
	return fmt.Sprintf(format, v)
}

func ms(d time.Duration) string { return fmt.Sprintf("%.2f", float64(d)/float64(time.Millisecond)) }

// report is what was measured, in the order in which it was.
type report struct {
	text    strings.Builder
	figures map[string]float64
}

func (r *report) section(title string) { fmt.Fprintf(&r.text, "\n## %s\n\n", title) }

func (r *report) say(format string, args ...any) { fmt.Fprintf(&r.text, format+"\n\n", args...) }

func (r *report) table(t *table) { r.text.WriteString(t.String() + "\n") }

// figure keeps what a target is held against.
func (r *report) figure(name string, value float64) {
	if !math.IsNaN(value) {
		r.figures[name] = value
	}
}
