package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// The checks of a client of OAuth 2.
const (
	discovery    = "discovery"
	public       = "public client"
	byBasic      = "client_secret_basic"
	byPost       = "client_secret_post"
	byKey        = "private_key_jwt"
	narrower     = "fewer scopes"
	atOnce       = "30 concurrent refreshes"
	revocation   = "revoke, then invalid_grant"
	introspected = "introspection"
	bound        = "DPoP"
	demanded     = "DPoP, demanded nonce"
	exchanged    = "token exchange"
	otherOrigin  = "other origin refused"
	boundSession = "DPoP, bound session"
)

// The checks of a verifier. Those of an algorithm verify an access token that it signed.
const (
	edDSA    = "EdDSA"
	es256    = "ES256"
	rs256    = "RS256"
	ps256    = "PS256"
	audience = "other audience refused"
	expired  = "expired refused"
	newKey   = "new key found by its kid"
)

// The checks of the header typ.
const (
	typJWT         = "typ JWT"
	typAccessToken = "typ at+jwt"
)

var verifies = []string{edDSA, es256, rs256, ps256, audience, expired, newKey}

// The kinds of clients, which say how a client is run.
const (
	byNode    = "node"    // testdata/clients/NAME.mjs
	byPython  = "python"  // testdata/clients/NAME.py
	byBrowser = "browser" // a page of testdata/clients/NAME.mjs, in Chromium
	byGo      = "go"      // tests of test/e2e
	byRules   = "rules"   // not run: its documented rules, applied by the driver
)

// client is a library with what is run of it.
type client struct {
	name   string // of the package
	with   string // a package that is used beside it, whose version the table has too
	kind   string
	checks []string
	// refuses are the checks that the library is known to fail, each with the reason. The run fails if it passes one.
	refuses map[string]string
	note    string            // what a reader has to set, or how it is checked
	tests   map[string]string // the tests of test/e2e by check, for byGo
}

// clients are the rows of the table.
var clients = []client{
	{
		name: "oauth4webapi", kind: byNode,
		checks: slices.Concat([]string{discovery, public, byBasic, byPost, byKey, narrower, atOnce, revocation, introspected,
			bound, boundSession, demanded, exchanged}, verifies[:6]),
		note: "an http issuer needs `allowInsecureRequests`",
	},
	{
		name: "openid-client", kind: byNode,
		checks: []string{discovery, public, byBasic, byPost, byKey, narrower, atOnce, revocation, introspected, bound,
			boundSession, demanded, exchanged},
		note: "an http issuer needs `execute: [allowInsecureRequests]`",
	},
	{
		name: "jose", kind: byNode, checks: verifies,
		note: "`createRemoteJWKSet` looks for an unknown kid again after 30 seconds; here with `cooldownDuration: 0`",
	},
	{
		name: "jsonwebtoken", with: "jwks-rsa", kind: byNode, checks: verifies,
		refuses: map[string]string{edDSA: "the library does not know it (node-jwa#38)"},
	},
	{
		name: "express-oauth2-jwt-bearer", with: "express", kind: byNode, checks: verifies,
		note: "with `strict: true`, and `cooldownDuration: 0` as for `jose`",
	},
	{
		name: "oidc-client-ts", kind: byBrowser,
		checks: []string{discovery, public, atOnce, revocation, otherOrigin, bound, demanded},
		note:   "in Chromium, on a page of an origin among the application's `origins`, by `signinSilent` and `revokeTokens`",
	},
	{
		name: "@auth/core", kind: byNode, checks: []string{discovery, public, byPost, atOnce, revocation},
		note: "the callback `jwt` of the guide to refresh token rotation of Auth.js",
	},
	{name: "PyJWT", kind: byPython, checks: verifies, note: "with `PyJWKClient`"},
	{
		name: "golang.org/x/oauth2", kind: byGo, checks: []string{public, byBasic, byPost, atOnce},
		tests: map[string]string{
			public: oauthInGo + "public client", byBasic: oauthInGo + byBasic, byPost: oauthInGo + byPost,
			atOnce: "TestParallelOAuthClientsGetOneToken/ENGINE",
		},
	},
	{name: "github.com/coreos/go-oidc/v3", kind: byGo, checks: verifies, tests: verifiesInGo("go-oidc"),
		note: "`provider.Verifier` takes the algorithms from the metadata"},
	{name: "github.com/MicahParks/keyfunc/v3", with: "github.com/golang-jwt/jwt/v5", kind: byGo, checks: verifies,
		tests: verifiesInGo("keyfunc"), note: "looks for an unknown kid once in 5 minutes"},
	{name: "github.com/lestrrat-go/jwx/v3", kind: byGo, checks: verifies[:6], tests: verifiesInGo("jwx"),
		note: "`jwk.Cache` reads the keys at its interval, not for an unknown kid"},
	{
		name: "Spring Security NimbusJwtDecoder", kind: byRules,
		checks: []string{discovery, edDSA, es256, rs256, ps256, typJWT, typAccessToken},
		refuses: map[string]string{
			edDSA:          "the decoder does not know it (spring-security#8960)",
			typAccessToken: "set `accessTokenType: JWT` for its application, or give the decoder a verifier of types",
		},
		note: "not run: an access token is held to the rules that its documentation states, with an application of " +
			"`accessTokenType: JWT`",
	},
}

const oauthInGo = "TestAnOAuthClientRefreshesUnchanged/ENGINE/"

// verifiesInGo returns the tests of a verifier in Go, by check.
func verifiesInGo(name string) map[string]string {
	tests := map[string]string{}
	for _, check := range verifies {
		tests[check] = "TestVerifiersInGo/ENGINE/" + name + "/" + check
	}
	return tests
}

// file is the name of the client's script, without its extension.
func (c client) file() string { return strings.ReplaceAll(strings.TrimPrefix(c.name, "@"), "/", "-") }

// result is what a check of a client came to.
type result struct {
	Check string
	Error string
	Later bool // the service does not offer it yet
}

func clientsPart(ctx context.Context, r *run) error {
	chosen, err := chosenClients(r.only)
	if err != nil {
		return err
	}
	scripts, err := r.install(ctx, chosen)
	if err != nil {
		return err
	}
	outcomes := map[string]map[string]string{} // the cell, by engine and client
	var errs []error
	for _, engine := range engines {
		outcomes[engine], err = r.on(ctx, engine, scripts, chosen)
		if err != nil {
			errs = append(errs, fmt.Errorf("on %s: %w", engine, err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	versions, err := readVersions(".")
	if err != nil {
		return err
	}
	table := render(chosen, versions, outcomes)
	fmt.Print(table)
	if r.only != "" {
		return nil
	}
	return writeTable("INTEGRATING.md", table)
}

func chosenClients(only string) ([]client, error) {
	if only == "" {
		return clients, nil
	}
	var chosen []client
	for name := range strings.SplitSeq(only, ",") {
		i := slices.IndexFunc(clients, func(c client) bool { return c.name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no client %q", name)
		}
		chosen = append(chosen, clients[i])
	}
	return chosen, nil
}

// install copies the scripts and installs the libraries that they need beside them.
func (r *run) install(ctx context.Context, chosen []client) (dir string, err error) {
	dir = filepath.Join(r.dir, "clients")
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(r.testdata, "clients"))); err != nil {
		return "", err
	}
	commands := [][]string{{"npm", "ci", "--ignore-scripts", "--no-fund", "--no-audit"}}
	if slices.ContainsFunc(chosen, func(c client) bool { return c.kind == byPython }) && !r.hasPython(ctx, dir) {
		commands = append(commands, []string{python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
			"--no-warn-script-location", "--target", "python", "--requirement", "requirements.txt"})
	}
	for _, command := range commands {
		r.progress("%s", strings.Join(command, " "))
		c := exec.CommandContext(ctx, command[0], command[1:]...)
		c.Dir = dir
		if out, err := c.CombinedOutput(); err != nil {
			return "", fmt.Errorf("%s: %w\n%s", strings.Join(command, " "), err, out)
		}
	}
	return dir, nil
}

// python is the distribution's, whose packages may be those of requirements.txt: Debian 12 has python3-jwt.
const python = "/usr/bin/python3"

// hasPython reports whether the libraries in Python are installed in their versions.
func (r *run) hasPython(ctx context.Context, dir string) bool {
	c := exec.CommandContext(ctx, python, "-c", "import importlib.metadata as m\nfor line in open('requirements.txt'):\n"+
		" name, _, version = line.strip().partition('==')\n assert m.version(name) == version")
	c.Dir = dir
	return c.Run() == nil
}

// on runs the clients with a service on an engine, and returns the cells of the table.
func (r *run) on(ctx context.Context, engine, scripts string, chosen []client) (cells map[string]string, err error) {
	r.progress("starting the service on %s", engine)
	w, err := newWorld(ctx, r, engine)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.stop()) }()
	cells = map[string]string{}
	var errs []error
	for _, c := range chosen {
		r.progress("%s: %s", engine, c.name)
		results, err := w.run(ctx, scripts, c)
		cell, wrong := judge(c, results)
		if err = errors.Join(err, wrong); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", c.name, err))
		}
		cells[c.name] = cell
	}
	return cells, w.services[0].Explain(errors.Join(errs...))
}

// clientTimeout bounds the run of one client. It ends what is stuck, on a machine however busy, and judges nothing.
const clientTimeout = 15 * time.Minute

// run runs a client, and returns the results of its checks.
func (w *world) run(ctx context.Context, scripts string, c client) ([]result, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, clientTimeout, errors.New("the client is stuck"))
	defer cancel()
	switch c.kind {
	case byNode:
		return w.script(ctx, scripts, c, "node", c.file()+".mjs")
	case byPython:
		return w.script(ctx, scripts, c, python, c.file()+".py")
	case byBrowser:
		return w.browser(ctx, scripts, c)
	case byGo:
		return w.goTests(ctx, c)
	case byRules:
		return w.spring(ctx, c)
	}
	return nil, fmt.Errorf("no way to run a client of the kind %s", c.kind)
}

// script runs a program that prints a line of JSON for each check.
func (w *world) script(ctx context.Context, dir string, c client, command ...string) (results []result, err error) {
	run := exec.CommandContext(ctx, command[0], command[1:]...)
	run.Dir, run.Stderr = dir, os.Stderr
	run.Env = append(os.Environ(), "WORLD="+w.file, "CLIENT="+c.name, "PYTHONPATH="+filepath.Join(dir, "python"))
	out, err := run.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := run.Start(); err != nil {
		return nil, err
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var one result
		if err := json.Unmarshal(lines.Bytes(), &one); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %s\n", c.name, lines.Text())
			continue
		}
		w.r.told(c, one)
		results = append(results, one)
	}
	return results, errors.Join(lines.Err(), run.Wait())
}

// told prints the result of a check.
func (r *run) told(c client, one result) {
	switch {
	case one.Later:
		r.progress("  %s: %s: not yet", c.name, one.Check)
	case one.Error != "":
		r.progress("  %s: %s: no: %s", c.name, one.Check, one.Error)
	default:
		r.progress("  %s: %s: yes", c.name, one.Check)
	}
}

// judge returns the cell of a client, and what is wrong with its results.
func judge(c client, results []result) (cell string, err error) {
	var (
		errs []error
		not  []string
		done []string
	)
	for _, one := range results {
		reason, refuses := c.refuses[one.Check]
		switch {
		case one.Later:
			not = append(not, one.Check+" (not yet)")
		case one.Error != "" && refuses:
			not = append(not, one.Check)
		case one.Error != "":
			errs = append(errs, fmt.Errorf("%s: %s", one.Check, one.Error))
		case refuses:
			errs = append(errs, fmt.Errorf("%s works now, and is noted as: %s", one.Check, reason))
		}
		done = append(done, one.Check)
	}
	if !slices.Equal(done, c.checks) {
		errs = append(errs, fmt.Errorf("it checked %q, want %q", done, c.checks))
	}
	cell = "all"
	if len(not) > 0 {
		cell += " but " + strings.Join(not, ", ")
	}
	return cell, errors.Join(errs...)
}
