package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/refreshd/refreshd/usecase"
)

// PrintApplied writes what became of each object of a kickstart, with its warnings below it, and how many of each there were.
func PrintApplied(w io.Writer, applied []usecase.Applied) {
	var actions, kinds int
	count := map[string]int{}
	for _, a := range applied {
		actions, kinds = max(actions, len(a.Action)), max(kinds, len(a.Kind))
		count[a.Action]++
	}
	var out strings.Builder
	for _, a := range applied {
		fmt.Fprintf(&out, "%-*s  %-*s  %s\n", actions, a.Action, kinds, a.Kind, printable(a.Name))
		for _, warning := range a.Warnings {
			fmt.Fprintf(&out, "%*swarning: %s\n", actions+2, "", printable(warning))
		}
	}
	fmt.Fprintf(&out, "%d created, %d updated, %d unchanged\n", count["created"], count["updated"], count["unchanged"])
	// There is nobody to tell that w is closed: what was applied stays applied.
	_, _ = io.WriteString(w, out.String())
}
