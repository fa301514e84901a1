package e2e_test

import (
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/refreshd/refreshd/test/support/figures"
)

// storms selects the long version of the tests below, and prints their figures after the last one.
var storms = os.Getenv("E2E_STORMS") != ""

// stormFigures are the tables of the figures.
var stormFigures = struct {
	mu     sync.Mutex
	tables map[string][][]string // the rows, by the head as one line
}{tables: map[string][][]string{}}

// note adds a row to the table with that head.
func note(head []string, row ...string) {
	stormFigures.mu.Lock()
	defer stormFigures.mu.Unlock()
	key := strings.Join(head, "\n")
	stormFigures.tables[key] = append(stormFigures.tables[key], row)
}

// stormTables returns the tables of all rows.
func stormTables() string {
	stormFigures.mu.Lock()
	defer stormFigures.mu.Unlock()
	var text strings.Builder
	for _, key := range keysOf(stormFigures.tables) {
		table := figures.NewTable(strings.Split(key, "\n")...)
		rows := stormFigures.tables[key]
		slices.SortFunc(rows, slices.Compare[[]string])
		for _, row := range rows {
			table.Add(row...)
		}
		text.WriteString("\n" + table.String())
	}
	return text.String()
}
