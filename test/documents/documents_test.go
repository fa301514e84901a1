// Package documents holds what the documents show to what the program does: settings, manifests, units, queries. Its
// tests are the package; here is how they take a document apart.
package documents

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
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

// refused is why the program does not take these arguments: its help of their command is asked for. A command that
// does not exist gets the help of the program. Help itself is run, because its argument is what it is asked for.
func refused(args ...string) error {
	var help bytes.Buffer
	o := run.Options{Args: args, Stdout: &help, Stderr: io.Discard}
	if args[0] != "help" {
		o.Args = append(slices.Clone(args), "--help")
	}
	if err := run.Run(context.Background(), o); err != nil {
		return err
	}
	if args[0] != "help" && !strings.Contains(help.String(), "Usage:\n  refreshd "+args[0]) {
		return errors.New("there is no such command")
	}
	return nil
}

// takesArguments fails the test unless the program knows the command and the flags of these arguments.
func takesArguments(t *testing.T, args ...string) {
	t.Helper()
	if err := refused(args...); err != nil {
		t.Errorf("refreshd %s: %v", strings.Join(args, " "), err)
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

// commandLine is a command of refreshd in a line of a shell, after settings for it.
var commandLine = regexp.MustCompile(`^(?:[A-Z_]+=\S+ +)*(?:\S*/)?refreshd +([a-z][^#|;&]*)`)

// commandsIn are the arguments of each command of refreshd that a text has as code, in a line or in a block.
func commandsIn(text string) (all [][]string) {
	var code []string
	for _, span := range regexp.MustCompile("`([^`\n]+)`").FindAllStringSubmatch(text, -1) {
		code = append(code, span[1])
	}
	for _, block := range append(blocks(text, "sh"), blocks(text, "ini")...) {
		for line := range strings.Lines(block) {
			code = append(code, strings.TrimPrefix(strings.TrimSpace(line), "ExecStart="))
		}
	}
	for _, line := range code {
		if found := commandLine.FindStringSubmatch(line); found != nil {
			all = append(all, strings.Fields(found[1]))
		}
	}
	return all
}

// An operator pastes the commands: each has to be one that the program knows, with its flags.
func TestDocumentsNameCommandsThatExist(t *testing.T) {
	files, err := filepath.Glob("../../*.md")
	if err != nil {
		t.Fatal(err)
	}
	tried := map[string]bool{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, args := range commandsIn(string(text)) {
			line := strings.Join(args, " ")
			if tried[line] {
				continue
			}
			tried[line] = true
			t.Run(filepath.Base(file)+": "+line, func(t *testing.T) { takesArguments(t, args...) })
		}
	}
	for _, want := range []string{"serve", "migrate --status", "apply -f kickstart.yaml --dry-run", "config show"} {
		if !tried[want] {
			t.Errorf("refreshd %s was not found in a document", want)
		}
	}
}

func TestACommandThatDoesNotExistIsFound(t *testing.T) {
	text := "`refreshd migrate --public-url https://auth.example.com`, `refreshd srve`, `refreshd help kikstart`\n" +
		"```sh\nA=b ./refreshd serve --lisen :0  # c\n```\n"
	found := commandsIn(text)
	if len(found) != 4 {
		t.Fatalf("got %q, want four commands", found)
	}
	for _, args := range found {
		if refused(args...) == nil {
			t.Errorf("refreshd %q was accepted", args)
		}
	}
}
