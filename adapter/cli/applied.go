package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/refreshd/refreshd/usecase"
)

// PrintApplied writes what became of each object of a kickstart, with its changes and warnings below it, and how many
// of each there were. dry says that it would have become that, and nothing was written.
func PrintApplied(w io.Writer, applied []usecase.Applied, dry bool) {
	var actions, kinds int
	count := map[string]int{}
	for _, a := range applied {
		actions, kinds = max(actions, len(a.Action)), max(kinds, len(a.Kind))
		count[a.Action]++
	}
	var out strings.Builder
	for _, a := range applied {
		fmt.Fprintf(&out, "%-*s  %-*s  %s\n", actions, a.Action, kinds, a.Kind, printable(a.Name))
		for _, c := range a.Changes {
			fmt.Fprintf(&out, "%*s%s: %s\n", actions+2, "", short(printable(c.Field)), short(printable(became(c))))
		}
		for _, warning := range a.Warnings {
			fmt.Fprintf(&out, "%*swarning: %s\n", actions+2, "", printable(warning))
		}
	}
	fmt.Fprintf(&out, "%d created, %d updated, %d unchanged", count["created"], count["updated"], count["unchanged"])
	if dry {
		out.WriteString(" (dry run: nothing was written)")
	}
	out.WriteString("\n")
	// There is nobody to tell that w is closed: what was applied stays applied.
	_, _ = io.WriteString(w, out.String())
}

// became are the values of a change, of which a secret has none.
func became(c usecase.Change) string {
	if c.Old == "" && c.New == "" {
		return "changed"
	}
	return c.Old + " -> " + c.New
}
