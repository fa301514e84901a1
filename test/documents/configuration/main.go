// Command configuration writes CONFIGURATION.md from what the code says about itself: the settings of package config,
// the members of tenants, applications, API keys and signing keys of package manifest, and the endpoints of
// permissions.
//
// The text between the tables is configuration.md.tmpl. The document is generated rather than checked, because a table
// that is typed says a default or a bound of an earlier version, and a check of every cell is the generator again.
package main

import (
	"bytes"
	_ "embed"
	"flag"
	"fmt"
	"os"
	"strings"
	"text/template"

	"github.com/refreshd/refreshd/adapter/manifest"
	"github.com/refreshd/refreshd/config"
	"github.com/refreshd/refreshd/domain"
)

//go:generate go run . -w ../../../CONFIGURATION.md

//go:embed configuration.md.tmpl
var document string

func main() {
	path := flag.String("w", "", "the `file` to write; without it the document goes to standard output")
	flag.Parse()
	if err := run(*path); err != nil {
		fmt.Fprintln(os.Stderr, "configuration:", err)
		os.Exit(1)
	}
}

func run(path string) error {
	text, err := generate()
	if err != nil {
		return err
	}
	if path == "" {
		_, err = os.Stdout.Write(text)
		return err
	}
	return os.WriteFile(path, text, 0o644)
}

// Setting is a setting of the process with an example of it.
type Setting struct {
	config.Key
	Example string
}

func generate() ([]byte, error) {
	functions := template.FuncMap{"code": code, "cell": cell, "words": words, "join": strings.Join}
	t, err := template.New("CONFIGURATION.md").Funcs(functions).Parse(document)
	if err != nil {
		return nil, err
	}
	var settings []Setting
	for _, k := range config.Keys() {
		example, ok := examples[k.Env]
		if !ok {
			return nil, fmt.Errorf("%s has no example: add one to examples.go", k.Env)
		}
		settings = append(settings, Setting{k, example})
	}
	var out bytes.Buffer
	err = t.Execute(&out, map[string]any{
		"Settings":       settings,
		"Kickstart":      strings.TrimSpace(manifest.Example),
		"Tenant":         manifest.TenantFields(),
		"Application":    manifest.ApplicationFields(),
		"Policy":         manifest.PolicyFields(),
		"APIKey":         manifest.APIKeyFields(),
		"Key":            manifest.KeyFields(),
		"Permissions":    manifest.Permissions(),
		"Administration": domain.AdministrationEndpoints(),
	})
	return out.Bytes(), err
}

// code is s as code in a cell of a table; nothing for nothing.
func code(s string) string {
	if s == "" {
		return ""
	}
	return "`" + cell(s) + "`"
}

// cell is s within a cell of a table, where a bar ends the cell, also within code (GitHub Flavored Markdown, 4.10).
func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }

// words are the values that a field can have.
func words(f manifest.Field) string {
	if f.Words == nil {
		return f.Type
	}
	return "`" + strings.Join(f.Words, "`, `") + "`"
}
