package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/refreshd/refreshd/usecase/admin"
)

// PrintApplied prints what was done to each object of a kickstart, with its changes and warnings, and the count of each
// action. dry is true if nothing was written.
func PrintApplied(w io.Writer, applied []admin.Applied, dry bool) {
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
	// A closed w is not an error: what was applied stays applied.
	_, _ = io.WriteString(w, out.String())
}

// became returns the old and the new value of a change; those of a secret are not shown.
func became(c admin.Change) string {
	if c.Old == "" && c.New == "" {
		return "changed"
	}
	return c.Old + " -> " + c.New
}
