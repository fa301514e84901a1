package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/refreshd/refreshd/usecase/admin"
)

// NotInFile is the action of an object that a kickstart file does not name and that stays.
const NotInFile = "not in the file"

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
		for _, note := range a.Notes {
			fmt.Fprintf(&out, "%*s%s\n", actions+2, "", printable(note))
		}
		for _, warning := range a.Warnings {
			fmt.Fprintf(&out, "%*swarning: %s\n", actions+2, "", printable(warning))
		}
	}
	fmt.Fprintf(&out, "%d created, %d updated, %d unchanged", count["created"], count["updated"], count["unchanged"])
	for _, action := range []string{"deleted", NotInFile} {
		if count[action] > 0 {
			fmt.Fprintf(&out, ", %d %s", count[action], action)
		}
	}
	if dry {
		out.WriteString(" (dry run: nothing was written)")
	}
	out.WriteString("\n")
	// A closed w is not an error: what was applied stays applied.
	_, _ = io.WriteString(w, out.String())
}

// PrintUnnamed prints the objects that are to be deleted because the kickstart file does not name them. noKey says that
// no valid API key is left then.
func PrintUnnamed(w io.Writer, unnamed []admin.Applied, noKey bool) {
	var out strings.Builder
	out.WriteString("The file does not name these, and they are deleted:\n")
	for _, a := range unnamed {
		fmt.Fprintf(&out, "  %-11s  %s\n", a.Kind, printable(a.Name))
		for _, note := range a.Notes {
			fmt.Fprintf(&out, "               %s\n", printable(note))
		}
	}
	if noKey {
		out.WriteString("WARNING: no valid API key is left then: no backend can issue, list or revoke sessions until " +
			"you apply a file with one.\n")
	}
	_, _ = io.WriteString(w, out.String())
}

// became returns the old and the new value of a change; those of a secret are not shown.
func became(c admin.Change) string {
	if c.Old == "" && c.New == "" {
		return "changed"
	}
	return c.Old + " -> " + c.New
}
