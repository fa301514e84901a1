package cli_test

import (
	"strings"
	"testing"

	"github.com/refreshd/refreshd/adapter/cli"
	"github.com/refreshd/refreshd/usecase"
)

func TestAppliedIsATableWithACount(t *testing.T) {
	var out strings.Builder
	cli.PrintApplied(&out, []usecase.Applied{
		{Kind: "tenant", Name: "acme", Action: "unchanged"},
		{Kind: "application", Name: "acme/shop", Action: "created", Warnings: []string{"the first", "the second"}},
		{Kind: "application", Name: "acme/back office", Action: "created"},
		{Kind: "API key", Name: "backend", Action: "updated"},
	})
	const want = `unchanged  tenant       acme
created    application  acme/shop
           warning: the first
           warning: the second
created    application  acme/back office
updated    API key      backend
2 created, 1 updated, 1 unchanged
`
	if got := out.String(); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestNothingAppliedIsSaid(t *testing.T) {
	var out strings.Builder
	cli.PrintApplied(&out, nil)
	if got, want := out.String(), "0 created, 0 updated, 0 unchanged\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
