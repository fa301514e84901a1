package rig

import (
	"flag"
	"fmt"
	"slices"
	"strings"
)

// Part is what a command can run by itself.
type Part interface {
	Label() (name, about string)
}

// PartFlag defines the flag -part, and a usage of flags that begins with about and ends with the list of the parts. The
// function that it returns parses args, which are flags only, and returns the parts that the flag names, in that order,
// or usual if it names none.
func PartFlag[P Part](flags *flag.FlagSet, about string, parts, usual []P) (parse func(args []string) ([]P, error)) {
	names := flags.String("part", "", "only these parts, separated by commas")
	flags.Usage = func() {
		fmt.Fprintln(flags.Output(), about+" Flags:")
		flags.PrintDefaults()
		fmt.Fprintln(flags.Output(), "Parts:")
		for _, p := range parts {
			name, about := p.Label()
			fmt.Fprintf(flags.Output(), "  %-10s %s\n", name, about)
		}
	}
	return func(args []string) (chosen []P, err error) {
		if err := flags.Parse(args); err != nil {
			return nil, err
		}
		if flags.NArg() > 0 {
			return nil, fmt.Errorf("%q is no flag", flags.Arg(0))
		}
		if *names == "" {
			return usual, nil
		}
		for wanted := range strings.SplitSeq(*names, ",") {
			i := slices.IndexFunc(parts, func(p P) bool {
				name, _ := p.Label()
				return name == wanted
			})
			if i < 0 {
				return nil, fmt.Errorf("there is no part %q: -help lists them", wanted)
			}
			chosen = append(chosen, parts[i])
		}
		return chosen, nil
	}
}
