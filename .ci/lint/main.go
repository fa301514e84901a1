// Command lint is a tool for go vet. `make lint` runs it in addition to go vet's own analyzers and staticcheck. It has
// its own module, so that its dependencies are not the service's.
//
// An analyzer is here if it finds a fault that those two do not, and has no false findings in this tree.
// golangci-lint has these too. It is not used because it brings 200 modules and a long build to each run of CI on a
// new machine. Tried and left out: bodyclose (21 findings; those that were read are responses of plain connections),
// rowserrcheck (3; it does not know pgx.ForEachRow), errcheck (mostly deferred Close of files that were read).
package main

import (
	"github.com/polyfloyd/go-errorlint/errorlint"
	sqlclose "github.com/ryanrolds/sqlclosecheck/pkg/analyzer"
	"golang.org/x/tools/go/analysis/passes/nilness"
	"golang.org/x/tools/go/analysis/passes/unusedwrite"
	"golang.org/x/tools/go/analysis/unitchecker"
)

func main() {
	unitchecker.Main(
		// An error that is compared with == or asserted is not found once it is wrapped, and the stores wrap.
		errorlint.NewAnalyzer(errorlint.WithAllowedErrors([]errorlint.AllowPair{
			// It is the very error where no cause was given, and a cause may wrap it.
			{Err: "context.Canceled", Fun: "context.Cause"},
		})),
		// Rows and statements that are not closed keep a connection of the pool.
		sqlclose.NewAnalyzer(),
		// A comparison with nil whose result is known, or a use of a nil value, shows a wrong condition.
		nilness.Analyzer,
		// A field that is set in a copy is lost.
		unusedwrite.Analyzer,
	)
}
