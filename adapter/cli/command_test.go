package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/refreshd/refreshd/adapter/cli"
	"github.com/refreshd/refreshd/config"
)

// ran is the result of a command line.
type ran struct {
	did    string // the command that did its work, with its own arguments; empty for none
	config config.Config
	stdout string
	err    error
}

// isUsage reports whether the error is a usage error, which exits with status 2.
func (r ran) isUsage() bool {
	var refused *config.Error
	return errors.As(r.err, new(*cli.UsageError)) || errors.As(r.err, &refused) && refused.WrongUsage()
}

// run runs a command line on functions that only record that they were called.
func run(t *testing.T, environ []string, args ...string) (r ran) {
	t.Helper()
	var out bytes.Buffer
	does := func(what string) func(context.Context, config.Config) error {
		return func(_ context.Context, c config.Config) error {
			r.did, r.config = what, c
			return nil
		}
	}
	r.err = cli.Program{
		Version: "v1.2.3", Environ: environ, Schemes: []config.Scheme{config.Memory, config.SQLite, config.Postgres},
		Stdout: &out, Stderr: &out,
		Serve: does("serve"), Health: does("health"), Migrate: does("migrate"), MigrateStatus: does("migrate --status"),
		Purge: does("purge"),
		Apply: func(_ context.Context, c config.Config, o cli.ApplyOptions) error {
			r.did, r.config = "apply "+o.File, c
			if o.DryRun {
				r.did += ", dry"
			}
			if o.Prune {
				r.did += ", prune"
			}
			return nil
		},
		Diff: func(_ context.Context, c config.Config, o cli.ApplyOptions) (bool, error) {
			r.did, r.config = "diff "+o.File, c
			return o.File == "other.yaml", nil
		},
		Export: func(_ context.Context, c config.Config, o cli.ExportOptions) error {
			r.did, r.config = "export "+o.File, c
			return nil
		},
	}.Run(t.Context(), args)
	r.stdout = out.String()
	return r
}

func TestACommandDoesItsWorkWithTheSettingsOfTheLine(t *testing.T) {
	for _, tt := range []struct {
		args []string
		did  string
	}{
		{[]string{"serve"}, "serve"},
		{[]string{"--listen", ":4000", "serve"}, "serve"},
		{[]string{"health", "--listen=:4000"}, "health"},
		{[]string{"migrate", "--database-url", "memory:"}, "migrate"},
		{[]string{"migrate", "--status"}, "migrate --status"},
		{[]string{"purge", "--purge-after=48h"}, "purge"},
		{[]string{"apply", "-f", "a.yaml"}, "apply a.yaml"},
		{[]string{"apply", "-f", "a.yaml", "--prune", "--dry-run"}, "apply a.yaml, dry, prune"},
		{[]string{"diff", "-f", "a.yaml"}, "diff a.yaml"},
		{[]string{"export", "-o", "a.yaml"}, "export a.yaml"},
		{[]string{"apply", "--file=a.yaml", "--dry-run"}, "apply a.yaml, dry"},
		{[]string{"apply", "-f", "-"}, "apply -"},
		{[]string{"apply", "--kickstart-file", "b.yaml"}, "apply b.yaml"},
	} {
		if got := run(t, nil, tt.args...); got.did != tt.did || got.err != nil || got.stdout != "" {
			t.Errorf("refreshd %s did %q, error %v, printed %q; want %q", tt.args, got.did, got.err, got.stdout, tt.did)
		}
	}
	got := run(t, []string{"REFRESHD_LOG_LEVEL=warn"}, "serve", "--pprof", "--restored=false", "--listen", ":4000",
		"--log-level",
		"error\n").config
	if !got.Pprof || got.Restored || got.Listen != ":4000" || got.LogLevel.String() != "ERROR" {
		t.Errorf("serve got pprof %t, restored %t, listen %s, log level %s", got.Pprof, got.Restored, got.Listen,
			got.LogLevel)
	}
}

// A command on the database says that it does not use the service of REFRESHD_SERVER.
func TestACommandOnTheDatabaseSaysThatItIgnoresTheServer(t *testing.T) {
	for _, line := range []string{"migrate", "apply -f a.yaml", "diff -f a.yaml", "purge", "health"} {
		const note = "uses the database, and not the service"
		got := run(t, []string{"REFRESHD_SERVER=https://auth.example.com"}, strings.Fields(line)...)
		if got.err != nil || strings.Contains(got.stdout, note) != (line != "health") {
			t.Errorf("%s: error %v, printed\n%s\nwant the note %q only of commands on the database", line, got.err, got.stdout,
				note)
		}
		if got := run(t, nil, strings.Fields(line)...); strings.Contains(got.stdout, note) {
			t.Errorf("%s without a server printed\n%s", line, got.stdout)
		}
	}
}

// A misspelt command line starts nothing, and says what was meant.
func TestAWrongCommandLineIsRefusedWithAdvice(t *testing.T) {
	for _, tt := range []struct {
		args string
		says string // the first line of the message
	}{
		{"sevre", "unknown command \"sevre\": did you mean `refreshd serve`?"},
		{"Serve", "unknown command: did you mean `refreshd serve`?"},
		{"config Show", "unknown command: did you mean `refreshd config show`?"},
		{"srve", "unknown command \"srve\": did you mean `refreshd serve`?"},
		{"migrat --database-url memory:", "unknown command \"migrat\": did you mean `refreshd migrate`?"},
		{"run", "unknown command \"run\": did you mean `refreshd serve`?"},
		{"configuration", "unknown command \"configuration\": did you mean `refreshd help configuration`?"},
		{"frobnicate", "unknown command \"frobnicate\": the commands are serve, health, migrate, apply, diff, export, " +
			"purge, token, tenant, application, apikey, key, audit, doctor, config, version, completion, help"},
		{"config shw", "unknown command \"shw\": did you mean `refreshd config show`?"},
		{"config list", "unknown command \"list\": the commands are show"},
		{"--listen :3000", "unknown flag --listen: did you mean `refreshd serve --listen`?"},
		{"-listen=:3000", "unknown flag -listen: did you mean `refreshd serve --listen`?"},
		{"--purge-after=1h", "unknown flag --purge-after: did you mean `refreshd serve --purge-after`?"},
		{"--dry-run", "unknown flag --dry-run: did you mean `refreshd apply --dry-run`?"},
		{"serve --lisen :3000", "unknown flag --lisen: did you mean --listen?"},
		{"serve --log_level=info", "unknown flag --log_level: did you mean --log-level?"},
		{"serve -listen :3000", "unknown flag -listen: did you mean --listen?"},
		{"serve -listen=:3000", "unknown flag -listen: did you mean --listen?"},
		{"serve -lisen=:3000", "unknown flag -lisen: did you mean --listen?"},
		{"serve -help", "unknown flag -help: did you mean --help?"},
		{"serve -x", "unknown flag -x"},
		{"serve -test.v", "unknown flag -t"},
		{"serve -f a.yaml", "unknown flag -f: it is a flag of `refreshd apply`, `refreshd diff`, " +
			"`refreshd tenant create` and others"},
		{"apply -file a.yaml", "unknown flag -file: did you mean --file?"},
		{"migrate --cors-origins=x",
			"unknown flag --cors-origins: it is a flag of `refreshd serve`, `refreshd doctor`, `refreshd config show`"},
		{"health --sttus", "unknown flag --sttus: did you mean --status, a flag of `refreshd migrate`?"},
		{"serve --speed 9", "unknown flag --speed"},
		{"serve --admin :3001", "unknown flag --admin: did you mean --admin-listen?"},
		{"serve --port 3000", "unknown flag --port: did you mean --listen?"},
		{"migrate --port 3000", "unknown flag --port"},
		{"config show -o --listen=:1", "--output has no value: write --output=value"},
		{"serve ---listen=:3000", "unknown flag ---listen: did you mean --listen?"},
		{"serve --master-key=x",
			"--master-key is not a flag, because arguments show in process lists: set REFRESHD_MASTER_KEY, " +
				"or name a file that holds it with --master-key-file"},
		{"serve --listen", "--listen has no value: write --listen=value"},
		{"serve --listen --log-level=info", "--listen has no value: write --listen=value"},
		{"apply -f", "--file has no value: write --file=value"},
		{"apply -f --dry-run", "--file has no value: write --file=value"},
		{"apply --dry-run=maybe", "--dry-run cannot have that value: write --dry-run, or --dry-run=false"},
		{"apply", "name the kickstart file: refreshd apply -f kickstart.yaml"},
		{"apply a.yaml", "refreshd apply takes no arguments, only flags: name the file with -f"},
		{"serve --pprof true", "refreshd serve takes no arguments, only flags: write a value as --name=value"},
		{"serve --", ""},
		{"serve -", "refreshd serve takes no arguments, only flags: write a value as --name=value"},
		{"version x", "refreshd version takes no arguments, only flags: write a value as --name=value"},
		{"version --listen=x",
			"unknown flag --listen: it is a flag of `refreshd serve`, `refreshd health`, `refreshd doctor`, " +
				"`refreshd config show`"},
		{"config show --output=xml", "--output is not one of table, json, yaml"},
		{"config show x", "refreshd config show takes no arguments, only flags: write a value as --name=value"},
		{"completion", "name one shell: bash, zsh or fish"},
		{"completion tcsh", "name one shell: bash, zsh or fish"},
		{"completion bash zsh", "name one shell: bash, zsh or fish"},
		{"help srve", "there is no help about \"srve\": did you mean `refreshd help serve`?"},
		{"help kikstart", "there is no help about \"kikstart\": did you mean `refreshd help kickstart`?"},
		{"help serve x", "there is no help about that: name a command, or one of configuration, exit-status, " +
			"kickstart, permissions, settings"},
		{"help config shw", "there is no help about \"shw\": did you mean `refreshd help config show`?"},
		{"help config kikstart",
			"there is no help about that: name a command, or one of configuration, exit-status, " +
				"kickstart, permissions, settings"},
		{"man", "name one directory"},
		{"serve --listen=x", "config: 1 problem"},
	} {
		got := run(t, nil, strings.Fields(tt.args)...)
		if tt.says == "" {
			if got.err != nil {
				t.Errorf("refreshd %s: %v", tt.args, got.err)
			}
			continue
		}
		if got.did != "" || got.stdout != "" || !got.isUsage() {
			t.Errorf("refreshd %s did %q, printed %q, error %v; want an error of usage only", tt.args, got.did, got.stdout,
				got.err)
			continue
		}
		if first, _, _ := strings.Cut(got.err.Error(), "\n"); first != tt.says {
			t.Errorf("refreshd %s:\ngot  %s\nwant %s", tt.args, first, tt.says)
		}
	}
	got := run(t, nil, "migrate", "--cors-origins=x")
	if want := "\nRun `refreshd migrate --help` for usage."; got.err == nil || !strings.HasSuffix(got.err.Error(), want) {
		t.Errorf("error %v, want one that ends with %q", got.err, want)
	}
}

// A flag of a script may hold anything: it must not write a line of its own, or change the terminal.
func TestAFlagInAnErrorCannotPassForALine(t *testing.T) {
	for arg, want := range map[string]string{
		"--x\nrefreshd: ready": `unknown flag --x\nrefreshd: ready`,
		"--x\x1b[31m":          `unknown flag --x\x1b[31m`,
		"--lis\nten=:0":        "unknown flag --lis\\nten: did you mean --listen?",
		"-éx":                  "unknown flag -é",
		"-\nx":                 `unknown flag -\n`,
	} {
		got := run(t, nil, "serve", arg)
		if first, _, _ := strings.Cut(fmt.Sprint(got.err), "\n"); first != want {
			t.Errorf("refreshd serve %q:\ngot  %q\nwant %q", arg, first, want)
		}
	}
}

// A script that quotes a variable which is not set passes an empty argument, and its author looks for what is wrong.
func TestAnEmptyArgumentIsCalledEmpty(t *testing.T) {
	for _, args := range [][]string{{""}, {"config", ""}, {"serve", ""}, {"apply", "-f", "a.yaml", ""}, {"version", ""}} {
		if got := run(t, nil, args...); !got.isUsage() || !strings.Contains(got.err.Error(), " empty") {
			t.Errorf("refreshd %q: error %v, want one of usage that says what is empty", args, got.err)
		}
	}
}

// A password that is in the wrong place must not be in the log of who started the program as well.
func TestNoUsageErrorRepeatsAValue(t *testing.T) {
	const secret = "hunter2"
	url := "postgres://u:" + secret + "@h/d"
	for _, args := range [][]string{
		{url}, {secret}, {"serve", url}, {"serve", "--speed", secret}, {"serve", "--speed=" + secret}, {"--speed=" + secret},
		{"serve", "-p" + secret}, {"serve", "-listen=" + secret}, {"serve", "-lisen=" + secret}, {"serve", "---x=" + secret},
		{"serve", "--=" + secret}, {"serve", "--master-key=" + secret}, {"serve", "--master-kye=" + secret},
		{"apply", "--dry-run=" + secret}, {"apply", secret}, {"apply", "-f=a", secret}, {"serve", "--pprof=" + secret},
		{"migrate", "--database-url", url}, {"config", secret}, {"config", "show", secret}, {"config", "show", "-o", secret},
		{"config", "show", "--listen=" + secret}, {"help", secret}, {"completion", secret}, {"serve", "--log-level", secret},
		{"migrate", "--status=" + secret}, {"version", "--version=" + secret}, {"--version=" + secret}, {"--help=" + secret},
		{"serve", "--help=" + secret}, {"man"},
	} {
		got := run(t, nil, args...)
		if !got.isUsage() || got.did != "" {
			t.Errorf("refreshd %q did %q, error %v; want an error of usage", args, got.did, got.err)
		}
		if strings.Contains(got.stdout, secret) || got.err != nil && strings.Contains(got.err.Error(), secret) {
			t.Errorf("refreshd %q repeats the value: %v\n%s", args, got.err, got.stdout)
		}
	}
}

// A setting of the environment is shared by all commands of a deployment; a flag is written for one.
func TestACommandTakesTheFlagsOfItsSettingsAndTheEnvironmentOfAll(t *testing.T) {
	dir := t.TempDir()
	for _, k := range config.Keys() {
		text := map[string]string{
			"HOST:PORT": "127.0.0.1:0", "URL": "https://a.example", "N": "7", "DURATION": "1h", "LIST": "", "FILE": "",
			"KEY": "",
		}[k.Form]
		if k.Choices != nil {
			text = k.Choices[0]
		}
		switch k.Env {
		case "REFRESHD_DATABASE_URL":
			text = "memory:"
		case "REFRESHD_KEY_ROTATION": // an hour is below its least value
			text = "2160h"
		}
		for _, command := range []string{"serve", "health", "migrate", "apply", "purge"} {
			args := []string{command}
			if command == "apply" {
				args = append(args, "-f", filepath.Join(dir, "a.yaml"))
			}
			if got := run(t, []string{k.Env + "=" + text}, args...); got.did == "" {
				t.Errorf("%s with %s: %v", command, k.Env, got.err)
			}
			if k.Flag == "" {
				continue
			}
			got := run(t, nil, append(args, "--"+k.Flag+"="+text)...)
			if takes := slices.Contains(k.Commands, command); (got.did != "") != takes || !takes && !got.isUsage() {
				t.Errorf("%s --%s did %q, error %v; want that it takes the flag: %t", command, k.Flag, got.did, got.err, takes)
			}
		}
		if k.Flag == "" {
			continue
		}
		if got := run(t, nil, "config", "show", "--"+k.Flag+"="+text); got.err != nil {
			t.Errorf("config show --%s: %v", k.Flag, got.err)
		}
	}
}

func TestConfigShowPrintsTheSettingsInForce(t *testing.T) {
	environ := []string{
		"REFRESHD_DATABASE_URL=postgres://u:hunter2@db/tokens",
		"REFRESHD_MASTER_KEY=MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
	}
	args := []string{"config", "show", "--listen=:4000"}
	table := run(t, environ, args...)
	for _, want := range []string{
		`(?m)^listen +:4000 +flag --listen$`, `(?m)^database_url +postgres://db/tokens +environment REFRESHD_DATABASE_URL$`,
		`(?m)^master_key +\[redacted\] +environment REFRESHD_MASTER_KEY$`, `(?m)^purge_after +24h +default$`,
	} {
		if !regexp.MustCompile(want).MatchString(table.stdout) {
			t.Errorf("%v; want a line %s in\n%s", table.err, want, table.stdout)
		}
	}
	decode := map[string]func([]byte, any) error{"json": json.Unmarshal, "yaml": yaml.Unmarshal}
	for format, decode := range decode {
		var got []config.Value
		r := run(t, environ, append(args, "--output="+format)...)
		if err := decode([]byte(r.stdout), &got); err != nil || r.err != nil || len(got) != len(config.Keys()) {
			t.Errorf("%s: %v, %v, %d settings\n%s", format, r.err, err, len(got), r.stdout)
		}
		if want := (config.Value{Name: "listen", Text: ":4000", Source: "flag --listen"}); !slices.Contains(got, want) {
			t.Errorf("%s: no %v in %v", format, want, got)
		}
		if strings.Contains(r.stdout, "hunter2") || strings.Contains(r.stdout, "MDEy") {
			t.Errorf("%s shows a secret:\n%s", format, r.stdout)
		}
	}
	for _, tt := range []struct {
		environ []string
		args    []string
		usage   bool
	}{
		{[]string{"REFRESHD_LISTEN=hunter2"}, nil, false},
		{nil, []string{"--listen=hunter2"}, true},
	} {
		got := run(t, tt.environ, append([]string{"config", "show"}, tt.args...)...)
		if got.err == nil || got.isUsage() != tt.usage || !strings.Contains(got.err.Error(), "is not host:port") ||
			!regexp.MustCompile(`(?m)^listen +\[refused\] `).MatchString(got.stdout) || strings.Contains(got.stdout, "hunter2") {
			t.Errorf("%q %q: %v, usage %t\n%s", tt.environ, tt.args, got.err, got.isUsage(), got.stdout)
		}
	}
}

func TestTheVersionSaysWhatItWasBuiltWith(t *testing.T) {
	for _, args := range []string{"--version", "-v"} {
		if got := run(t, nil, args); got.err != nil || got.stdout != "refreshd v1.2.3\n" {
			t.Errorf("refreshd %s: %v, %q", args, got.err, got.stdout)
		}
	}
	got := run(t, nil, "version")
	want := "go       " + runtime.Version() + "\nplatform " + runtime.GOOS + "/" + runtime.GOARCH + "\n"
	if got.err != nil || !strings.HasPrefix(got.stdout, "refreshd v1.2.3\n") || !strings.HasSuffix(got.stdout, want) {
		t.Errorf("refreshd version: %v\n%s", got.err, got.stdout)
	}
}

// completed are the words that a shell offers, and whether it offers files as well.
func completed(t *testing.T, args ...string) (words []string, files bool) {
	t.Helper()
	got := run(t, nil, append([]string{"__complete"}, args...)...)
	if got.err != nil || got.did != "" {
		t.Fatalf("complete %q: %v, did %q", args, got.err, got.did)
	}
	for line := range strings.Lines(got.stdout) {
		word, _, _ := strings.Cut(strings.TrimSpace(line), "\t")
		if directive, ok := strings.CutPrefix(word, ":"); ok {
			return words, directive == "0"
		}
		words = append(words, word)
	}
	t.Fatalf("complete %q: no directive in\n%s", args, got.stdout)
	return nil, false
}

func TestAShellCompletesCommandsFlagsAndClosedLists(t *testing.T) {
	for _, tt := range []struct {
		args  []string
		words []string // among those that are offered
		files bool
	}{
		{[]string{""}, []string{"serve", "migrate", "config", "completion"}, false},
		{[]string{"serve", "--log"}, []string{"--log-format", "--log-level"}, false},
		{[]string{"serve", "--log-level", ""}, []string{"debug", "info", "warn", "error"}, false},
		{[]string{"serve", "--log-format="}, []string{"text", "json", "auto"}, false},
		{[]string{"serve", "--restored="}, []string{"true", "false"}, false},
		{[]string{"apply", "--dry-run="}, []string{"true", "false"}, false},
		{[]string{"migrate", "--status="}, []string{"true", "false"}, false},
		{[]string{"serve", "--help="}, []string{"true", "false"}, false},
		{[]string{"help", "config", ""}, []string{"show"}, false},
		{[]string{"help", "serve", ""}, nil, false},
		{[]string{"help", "kickstart", ""}, nil, false},
		{[]string{"serve", "--listen", ""}, nil, false},
		{[]string{"serve", "--config", ""}, nil, true},
		{[]string{"apply", "-f", ""}, nil, true},
		{[]string{"apply", "--kickstart-file="}, nil, true},
		{[]string{"config", "show", "--output", ""}, []string{"table", "json", "yaml"}, false},
		{[]string{"completion", ""}, []string{"bash", "zsh", "fish"}, false},
		{[]string{"help", ""}, []string{"serve", "permissions"}, false},
	} {
		words, files := completed(t, tt.args...)
		if files != tt.files {
			t.Errorf("complete %q: files %t, want %t", tt.args, files, tt.files)
		}
		if tt.words == nil && len(words) > 0 {
			t.Errorf("complete %q offers %q, want nothing", tt.args, words)
		}
		for _, want := range tt.words {
			if !slices.Contains(words, want) {
				t.Errorf("complete %q offers %q, want %q among them", tt.args, words, want)
			}
		}
	}
	for shell, want := range map[string]string{
		"bash": "complete -o default -F __start_refreshd refreshd", "zsh": "#compdef refreshd",
		"fish": "complete -c refreshd",
	} {
		if got := run(t, nil, "completion", shell); got.err != nil || !strings.Contains(got.stdout, want) {
			t.Errorf("completion %s: %v, want a script with %q", shell, got.err, want)
		}
	}
}

func TestThereIsAManPageForEachCommandAndTopic(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "man")
	if got := run(t, nil, "man", dir); got.err != nil {
		t.Fatal(got.err)
	}
	pages := map[string]string{"refreshd.1": "refresh token service", "refreshd-kickstart.7": "refreshTokenUsagePolicy"}
	holds := map[string]string{ // what Markdown would have taken for a link, or lost
		"refreshd-purge.1":       "then as [invalid] (REFRESHD_PURGE_AFTER)",
		"refreshd-apply.1":       "REFRESHD_MASTER_KEY_PREVIOUS the",
		"refreshd-config-show.1": "shows as [redacted]",
	}
	for _, command := range slices.DeleteFunc(slices.Clone(commands), func(c string) bool { return c == "help" }) {
		pages["refreshd-"+strings.ReplaceAll(command, " ", "-")+".1"] = "SYNOPSIS"
	}
	for _, topic := range topics {
		pages["refreshd-"+topic+".7"] += ""
	}
	for name, want := range pages {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if !regexp.MustCompile(`(?m)^\.SH NAME\n\S+ - \S`).Match(text) {
			t.Errorf("%s: NAME does not say what it is about, for apropos", name)
		}
		if about, topic := strings.CutSuffix(name, ".7"); topic && (strings.Contains(string(text), "--help") ||
			!strings.Contains(string(text), "fBrefreshd help "+strings.TrimPrefix(about, "refreshd-")+"\\fP") ||
			strings.Contains(string(text), "```")) {
			t.Errorf("%s is not a page about a topic, which has no program and no flags:\n%s", name, text)
		}
		if err != nil || !strings.Contains(string(text), want) {
			t.Errorf("%s: %v, want a page with %q", name, err, want)
		}
		if flat := strings.Join(strings.Fields(string(text)), " "); !strings.Contains(flat, holds[name]) {
			t.Errorf("%s: want a page with %q:\n%s", name, holds[name], text)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "refreshd-man.1")); err == nil {
		t.Error("there is a page of the hidden command")
	}
}
