package cli

import (
	"io"

	"golang.org/x/term"
)

// IsTerminal tells whether somebody sees what is written to w, so that it may show a secret.
func IsTerminal(w io.Writer) bool {
	f, ok := w.(interface{ Fd() uintptr })
	return ok && term.IsTerminal(int(f.Fd()))
}
