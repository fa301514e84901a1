// Package documents holds what the documents show to what the program does: settings, manifests, units, queries. Its
// tests are the package; here is how they take a document apart.
package documents

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/refreshd/refreshd/cmd/run"
	"github.com/refreshd/refreshd/config"
)

// section is the text below the heading of that level-two section of a document at the root of the repository.
func section(file, heading string) (string, error) {
	text, err := os.ReadFile("../../" + file)
	if err != nil {
		return "", err
	}
	_, after, found := strings.Cut(string(text), "\n## "+heading+"\n")
	if !found {
		return "", fmt.Errorf("%s has no section %q", file, heading)
	}
	before, _, _ := strings.Cut(after, "\n## ")
	return before, nil
}

// blocks are the code blocks of text in that language.
func blocks(text, language string) (all []string) {
	block := regexp.MustCompile("(?ms)^```" + language + "\n(.*?)^```$")
	for _, b := range block.FindAllStringSubmatch(text, -1) {
		all = append(all, b[1])
	}
	return all
}

// Keys as the commands of the documents make them.
const (
	masterKey  = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
	backendKey = "ak_0123456789abcdef0123456789abcdef"
)

// blocksOf are the code blocks of a section of OPERATING.md: want of them.
func blocksOf(t *testing.T, heading, language string, want int) []string {
	t.Helper()
	text, err := section("OPERATING.md", heading)
	if err != nil {
		t.Fatal(err)
	}
	all := blocks(text, language)
	if len(all) != want {
		t.Fatalf("%q has %d blocks in %s, want %d", heading, len(all), language, want)
	}
	return all
}

// load is the configuration that a process with this environment has.
func load(environ []string) (config.Config, error) {
	return config.Load(nil, environ, config.SQLite, config.Postgres, config.PostgreSQL)
}

// takesArguments fails the test unless the program knows the command of these arguments: its help is asked for.
func takesArguments(t *testing.T, args ...string) {
	t.Helper()
	o := run.Options{Args: append(args, "--help"), Stdout: io.Discard, Stderr: io.Discard}
	if err := run.Run(context.Background(), o); err != nil {
		t.Errorf("refreshd %s: %v", strings.Join(args, " "), err)
	}
}

func TestAnUnknownCommandIsFound(t *testing.T) {
	o := run.Options{Args: []string{"srve", "--help"}, Stdout: io.Discard, Stderr: io.Discard}
	if err := run.Run(t.Context(), o); err == nil {
		t.Error("the help of a command that does not exist was found")
	}
}

// writeFiles writes files of these names and texts, and returns their directory.
func writeFiles(t *testing.T, texts map[string]string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for name, text := range texts {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// A reader pastes what a document sets: each name has to be one that the program knows.
func TestDocumentsNameSettingsOfTheProcessThatExist(t *testing.T) {
	known := map[string]bool{
		"REFRESHD_DB_SERVICE_HOST": true, "REFRESHD_PORT": true, // examples of what is skipped and refused
	}
	for _, k := range config.Keys() {
		known[k.Env] = true
	}
	files, err := filepath.Glob("../../*.md")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, file := range append(files, "../../docker-compose.yml", "../../Dockerfile") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range regexp.MustCompile(`REFRESHD_[A-Z_]*[A-Z]`).FindAllString(string(text), -1) {
			found++
			if !known[name] {
				t.Errorf("%s names the unknown setting %s", filepath.Base(file), name)
			}
		}
	}
	if found < len(known) {
		t.Errorf("%d names were found", found)
	}
}

// environment is NAME=VALUE of each.
func environment(values map[string]string) (environ []string) {
	for name, value := range values {
		environ = append(environ, fmt.Sprintf("%s=%s", name, value))
	}
	return environ
}
