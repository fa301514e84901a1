package main

import (
	"context"
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/refreshd/refreshd/test/support/rig"
)

// generators makes clients from the document of a service after its first start, and runs them.
func generators(ctx context.Context, r *run) (err error) {
	dir, err := os.MkdirTemp(r.dir, "generators-")
	if err != nil {
		return err
	}
	program := r.program
	service, err := program.Serve(ctx, rig.Settings{
		Database: "sqlite:" + filepath.Join(dir, "first", "refreshd.db"),
		Env:      []string{"REFRESHD_PUBLIC_URL=", "REFRESHD_MASTER_KEY="},
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, service.Stop()) }()
	key, err := os.ReadFile(filepath.Join(dir, "first", "first-api-key"))
	if err != nil {
		return err
	}
	c, err := readDocument(ctx, "http://"+service.API, strings.TrimSpace(string(key)))
	if err != nil {
		return err
	}
	fmt.Printf("the document of %s: tenant %s, application %s\n", c.url, c.tenant, c.application)
	return service.Explain(errors.Join(
		c.paste(ctx),
		c.oapiCodegen(ctx, filepath.Join(r.testdata, "go"), filepath.Join(dir, "go")),
		c.openapiTypeScript(ctx, filepath.Join(r.testdata, "typescript"), filepath.Join(dir, "typescript")),
	))
}

// A caller is what a client has to know. All but the API key is from the document.
type caller struct {
	document                      []byte
	url, tenant, application, key string
}

func readDocument(ctx context.Context, at, key string) (*caller, error) {
	text, err := get(ctx, at+"/openapi.yaml")
	if err != nil {
		return nil, err
	}
	var document struct {
		Servers []struct{ URL string }
		Paths   map[string]struct {
			Post struct {
				RequestBody struct {
					Content map[string]struct {
						Examples map[string]struct {
							Value struct {
								ApplicationsID string `yaml:"applicationsId"`
							}
						}
					}
				} `yaml:"requestBody"`
			}
		}
		Components struct {
			SecuritySchemes map[string]struct {
				Example string `yaml:"x-example"`
			} `yaml:"securitySchemes"`
		}
	}
	if err := yaml.Unmarshal(text, &document); err != nil {
		return nil, err
	}
	c := &caller{document: text, key: key, tenant: document.Components.SecuritySchemes["tenant"].Example}
	issue := document.Paths["/jwt/issue"].Post.RequestBody.Content["application/json"]
	c.application = issue.Examples["minimal"].Value.ApplicationsID
	if len(document.Servers) == 1 {
		c.url = document.Servers[0].URL
	}
	if c.url != at || c.tenant != "default" || c.application != "demo" {
		return nil, fmt.Errorf("the document names %q, %q, %q; want %s, and what a first start makes",
			c.url, c.tenant, c.application, at)
	}
	return c, nil
}

func get(ctx context.Context, url string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	response, err := rig.Client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s: %s", url, response.Status)
	}
	return text, err
}

func (c *caller) oapiCodegen(ctx context.Context, from, dir string) error {
	if err := c.prepare(from, dir, "refreshd"); err != nil {
		return err
	}
	for _, command := range [][]string{
		{"go", "tool", "oapi-codegen", "-config", "oapi-codegen.yaml", "openapi.yaml"},
		{"go", "vet", "./..."},
		{"go", "build", "-o", "interop", "."},
	} {
		if err := c.quietly(ctx, dir, command...); err != nil {
			return fmt.Errorf("oapi-codegen: %w", err)
		}
	}
	return c.call(ctx, dir, "oapi-codegen", "./interop")
}

func (c *caller) openapiTypeScript(ctx context.Context, from, dir string) error {
	if err := c.prepare(from, dir); err != nil {
		return err
	}
	for _, command := range [][]string{
		{"npm", "ci", "--ignore-scripts", "--no-fund", "--no-audit"},
		{"node_modules/.bin/openapi-typescript", "openapi.yaml", "-o", "refreshd.d.ts"},
		{"node_modules/.bin/tsc"},
	} {
		if err := c.quietly(ctx, dir, command...); err != nil {
			return fmt.Errorf("openapi-typescript: %w", err)
		}
	}
	return c.call(ctx, dir, "openapi-typescript", "node", "out/main.js")
}

// prepare makes the folder of a client with the document.
func (c *caller) prepare(from, dir string, folders ...string) error {
	if err := os.CopyFS(dir, os.DirFS(from)); err != nil {
		return err
	}
	for _, folder := range folders {
		if err := os.Mkdir(filepath.Join(dir, folder), 0o755); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(dir, "openapi.yaml"), c.document, 0o644)
}

// quietly runs a command in dir. The error has its output.
func (c *caller) quietly(ctx context.Context, dir string, command ...string) error {
	run := exec.CommandContext(ctx, command[0], command[1:]...)
	if strings.Contains(command[0], "/") {
		run.Path = filepath.Join(dir, command[0])
		run.Err = nil
	}
	run.Dir = dir
	run.Env = append(os.Environ(), "GOFLAGS=-mod=readonly", "GOWORK=off")
	if out, err := run.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(command, " "), err, out)
	}
	fmt.Printf("  %s\n", strings.Join(command, " "))
	return nil
}

// call runs a client, which prints what it does.
func (c *caller) call(ctx context.Context, dir, name string, command ...string) error {
	run := exec.CommandContext(ctx, command[0], command[1:]...)
	if strings.HasPrefix(command[0], "./") {
		run.Path, run.Err = filepath.Join(dir, command[0]), nil
	}
	run.Dir, run.Stdout, run.Stderr = dir, os.Stdout, os.Stderr
	run.Env = append(os.Environ(), c.environment()...)
	fmt.Printf("%s\n", name)
	if err := run.Run(); err != nil {
		return fmt.Errorf("%s: the client: %w", name, err)
	}
	return nil
}

func (c *caller) environment() []string {
	return []string{"BASE_URL=" + c.url, "TENANT=" + c.tenant, "APPLICATION=" + c.application, "API_KEY=" + c.key}
}

var (
	code     = regexp.MustCompile(`(?s)<code>(curl .*?)</code>`)
	tag      = regexp.MustCompile(`<[^>]*>`)
	status   = regexp.MustCompile(`(?m)^HTTP/1\.1 ([0-9]{3}) `)
	codes400 = regexp.MustCompile(`"code":"([^"]*)"`)
)

// excused are the refusals of examples whose token string, id or instants can only be invented. No other refusal is
// accepted.
var excused = []string{
	"[invalid]refreshToken", "[invalid]refreshTokenId", "[invalid]insertInstant", "[invalid]expirationInstant",
}

// paste runs the commands on the page /docs.
func (c *caller) paste(ctx context.Context) error {
	page, err := get(ctx, c.url+"/docs")
	if err != nil {
		return err
	}
	var errs []error
	statuses := map[string]int{}
	commands := code.FindAllStringSubmatch(string(page), -1)
	for _, match := range commands {
		command := html.UnescapeString(tag.ReplaceAllString(match[1], ""))
		if !strings.Contains(command, "://") { // a sentence about an option
			continue
		}
		shell := exec.CommandContext(ctx, "bash", "-c", command)
		shell.Env = append(os.Environ(), c.environment()...)
		out, err := shell.Output()
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", command, err))
			continue
		}
		got := ""
		if m := status.FindSubmatch(out); m != nil {
			got = string(m[1])
		}
		statuses[got]++
		codes := codes400.FindAllStringSubmatch(string(out), -1)
		refused := slices.ContainsFunc(codes, func(m []string) bool { return !slices.Contains(excused, m[1]) })
		switch {
		case got == "400" && len(codes) > 0 && !refused:
		case got == "200" || got == "404":
		default:
			errs = append(errs, fmt.Errorf("it does not work when pasted: %s\n%s", command, out))
		}
	}
	if len(commands) < 10 || statuses["200"] < 5 {
		errs = append(errs, fmt.Errorf("%d commands on the page, by status %v: too few to prove anything",
			len(commands), statuses))
	}
	fmt.Printf("pasted %d commands of /docs, by status: %v\n", len(commands), statuses)
	return errors.Join(errs...)
}
