package rig

import (
	"errors"
	"flag"
	"slices"
	"strings"
	"testing"
)

type named string

func (n named) Label() (name, about string) { return string(n), "is called " + string(n) }

// A run has the parts that -part names, and no others. An unknown name is refused.
func TestPartFlag(t *testing.T) {
	parts := []named{"one", "two", "long"}
	for _, test := range []struct {
		args []string
		want []named
		err  string
	}{
		{nil, parts[:2], ""},
		{[]string{"-part=long"}, []named{"long"}, ""},
		{[]string{"-part=two,one"}, []named{"two", "one"}, ""},
		{[]string{"-part=one,three"}, nil, `there is no part "three": -help lists them`},
		{[]string{"-part=one", "two"}, nil, `"two" is not a flag`},
		{[]string{"-part=one,"}, nil, `there is no part "": -help lists them`},
	} {
		flags := flag.NewFlagSet("test", flag.ContinueOnError)
		got, err := PartFlag(flags, "Tests.", parts, parts[:2])(test.args)
		text := ""
		if err != nil {
			text = err.Error()
		}
		if !slices.Equal(got, test.want) || text != test.err {
			t.Errorf("%q: got %q, %q, want %q, %q", test.args, got, text, test.want, test.err)
		}
	}
}

func TestTheUsageListsTheParts(t *testing.T) {
	var out strings.Builder
	flags := flag.NewFlagSet("test", flag.ContinueOnError)
	flags.SetOutput(&out)
	parse := PartFlag(flags, "Tests.", []named{"one", "two"}, nil)
	if _, err := parse([]string{"-help"}); !errors.Is(err, flag.ErrHelp) {
		t.Fatalf("got %v, want %v", err, flag.ErrHelp)
	}
	for _, want := range []string{"Tests. Flags:\n", "  -part ", "\nParts:\n  one        is called one\n  two "} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("got usage\n%s\nwant it to contain %q", out.String(), want)
		}
	}
}
