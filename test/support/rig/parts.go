package rig

import (
	"flag"
	"fmt"
	"slices"
	"strings"
)

// Part is a part of a command that can be run alone.
type Part interface {
	Label() (name, about string)
}

// PartFlag defines the flag -part, and a usage text that begins with about and ends with the list of parts. The
// returned function parses args, which may hold only flags, and returns the parts that the flag names, in that order,
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
			return nil, fmt.Errorf("%q is not a flag", flags.Arg(0))
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
