// Command graph prints the import graph of the program as a Mermaid flowchart. With -w FILE it replaces the graph in
// that file. It fails if an import points upward, or if the table of test/arch does not allow it.
package main

import (
	"flag"
	"fmt"
	"os"

	"github.com/refreshd/refreshd/test/arch"
)

func main() {
	write := flag.String("w", "", "the `file` that holds the graph between markers")
	flag.Parse()
	if err := run(*write); err != nil {
		fmt.Fprintln(os.Stderr, "graph:", err)
		os.Exit(1)
	}
}

func run(write string) error {
	graph, err := arch.Graph(os.DirFS("."))
	if err != nil {
		return err
	}
	fmt.Print(graph)
	if write == "" {
		return nil
	}
	document, err := os.ReadFile(write)
	if err != nil {
		return err
	}
	text, err := arch.Replace(string(document), graph)
	if err != nil {
		return err
	}
	return os.WriteFile(write, []byte(text), 0o644)
}
