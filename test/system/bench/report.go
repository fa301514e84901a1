package main

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/refreshd/refreshd/test/support/figures"
)

func ms(d time.Duration) string { return fmt.Sprintf("%.2f", float64(d)/float64(time.Millisecond)) }

// report is the report, in the order of measurement.
type report struct {
	text    strings.Builder
	figures map[string]float64
}

func (r *report) section(title string) { fmt.Fprintf(&r.text, "\n## %s\n\n", title) }

func (r *report) say(format string, args ...any) { fmt.Fprintf(&r.text, format+"\n\n", args...) }

func (r *report) table(t *figures.Table) { r.text.WriteString(t.String() + "\n") }

// figure records a figure that a target refers to.
func (r *report) figure(name string, value float64) {
	if !math.IsNaN(value) {
		r.figures[name] = value
	}
}
