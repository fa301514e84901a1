package cli_test

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/refreshd/refreshd/adapter/cli"
	"github.com/refreshd/refreshd/usecase/admin"
)

func TestAppliedIsATableWithACount(t *testing.T) {
	var out strings.Builder
	cli.PrintApplied(&out, []admin.Applied{
		{Kind: "tenant", Name: "acme", Action: "unchanged"},
		{Kind: "application", Name: "acme/shop", Action: "created", Warnings: []string{"the first", "the second"}},
		{Kind: "application", Name: "acme/back office", Action: "created"},
		{Kind: "API key", Name: "backend", Action: "updated", Changes: []admin.Change{
			{Field: "key"}, {Field: "permissions.endpoints./jwt/issue", Old: "none", New: "POST"},
		}, Warnings: []string{"the last"}},
	}, false)
	const want = `unchanged  tenant       acme
created    application  acme/shop
           warning: the first
           warning: the second
created    application  acme/back office
updated    API key      backend
           key: changed
           permissions.endpoints./jwt/issue: none -> POST
           warning: the last
2 created, 1 updated, 1 unchanged
`
	if got := out.String(); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

// Names come from a file, and an endpoint's may be any text. On a terminal no name may move the cursor, reverse the
// direction of the text or look like another line.
func TestNamesDoNothingToATerminal(t *testing.T) {
	for _, bad := range []string{"\x1b[2J", "\x1b]0;title\a", "\u009b31m", "\u202e\u2066", "a\rb",
		"a\nunchanged  tenant  root", "\x00", "\u2028", "\ufeff", "\xff", "\u200b"} {
		var out strings.Builder
		cli.PrintApplied(&out, []admin.Applied{
			{Kind: "API key", Name: "k" + bad, Action: "updated", Warnings: []string{"there is no endpoint /x" + bad},
				Changes: []admin.Change{{Field: "x" + bad, Old: bad, New: "y" + bad}}},
		}, false)
		if lines := strings.Count(out.String(), "\n"); lines != 4 {
			t.Errorf("%q: got %d lines, want 4:\n%q", bad, lines, out.String())
		}
		if strings.ContainsFunc(out.String(), func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }) ||
			!utf8.ValidString(out.String()) {
			t.Errorf("%q reaches the terminal unchanged: %q", bad, out.String())
		}
	}
}

func TestNothingAppliedIsSaid(t *testing.T) {
	var out strings.Builder
	cli.PrintApplied(&out, nil, false)
	cli.PrintApplied(&out, nil, true)
	want := "0 created, 0 updated, 0 unchanged\n0 created, 0 updated, 0 unchanged (dry run: nothing was written)\n"
	if got := out.String(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
