package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/refreshd/refreshd/config"
)

// Finding is the result of one check of `refreshd doctor`. No text of it holds a secret.
type Finding struct {
	Check  string `json:"check"`
	Status string `json:"status"`           // one of the following
	Detail string `json:"detail"`           // what was found
	Advice string `json:"advice,omitempty"` // what to do; empty if there is nothing to do
}

// The values of Status.
const (
	FindingOK      = "ok"
	FindingWarning = "warning" // the service runs, and something is at risk
	FindingFailed  = "failed"  // the service does not run, or not for long
)

func (l *line) doctor() *cobra.Command {
	var output outputFlag
	c := &cobra.Command{
		Use: "doctor", GroupID: looking,
		Short: "Check the deployment, and say what to do about each finding",
		Long: `Check the configuration, the files of keys, the database with its schema, its role, its standbys
and its pooler, the keys, the clocks, the purge and the API keys. Each check prints one line: ok,
warning or failed, what was found, and what to do about it. Run it where "refreshd serve" runs, with
the same settings.

It only reads: it makes no database, migrates nothing, and prints no secret. Each check waits ten
seconds at most for the database.

The exit status is 1 if a check failed, otherwise 0; 2 if the command line is wrong.`,
		Example: `  refreshd doctor
  refreshd doctor --output json | jq '.[] | select(.status != "ok")'`,
		Args: noArguments,
	}
	output.add(c)
	addSettings(c, c.Name())
	c.RunE = func(c *cobra.Command, _ []string) error {
		if !slices.Contains(formats, output.format.text) {
			return wrong(c, "--output is not one of %s", strings.Join(formats, ", "))
		}
		l.working = true
		loaded, err := config.Load(setFlags(c), l.Environ, l.Schemes...)
		refused := (*config.Error)(nil)
		if errors.As(err, &refused) && refused.WrongUsage() {
			return err
		}
		w := &findings{rows: rows{w: l.Stdout, format: output.format.text}}
		if err != nil {
			w.report(Finding{
				"configuration", FindingFailed, strings.Join(strings.Split(err.Error(), "\n  "), "; "),
				"correct it: `refreshd help configuration` describes the settings, `refreshd config show` shows them",
			})
		} else {
			w.report(Finding{"configuration", FindingOK, "every setting is valid", ""})
			l.Doctor(c.Context(), loaded, w.report)
		}
		if err := errors.Join(w.err, w.end()); err != nil {
			return err
		}
		if w.failed {
			return &Failure{Status: StatusFailed}
		}
		return nil
	}
	return c
}

// findings writes each finding when it is reported.
type findings struct {
	rows
	failed bool  // a check failed
	err    error // of writing
}

func (w *findings) report(f Finding) {
	w.failed = w.failed || f.Status == FindingFailed
	if w.format != formats[0] {
		row, err := json.Marshal(f)
		w.err = errors.Join(w.err, err, w.add([]json.RawMessage{row}))
		return
	}
	text := f.Check + ": " + f.Detail
	if f.Advice != "" {
		text += "; " + f.Advice
	}
	_, err := fmt.Fprintf(w.w, "%-7s  %s\n", f.Status, printable(text))
	w.err = errors.Join(w.err, err)
}
