// Package arch checks the layout of the code. A table says which package may import which.
//
// It is not a linter of style. It reads every file, also those that a build tag leaves out. Test files may import
// anything: a use case is tested on a real store. The imports are parsed here, not listed by `go list`, so that the
// check itself can be tested on files that break a rule.
package arch

import (
	"go/ast"
	"slices"
	"strconv"
	"strings"
)

const module = "github.com/refreshd/refreshd"

// level is a height in the layout: imports point to the same level or a lower one.
type level int

const (
	domain level = iota
	config
	port
	usecase
	adapter
	dialect
	cmd
	tests // outside of the program; it may import all of it
)

// rule is what the packages in a folder may import. The longest folder that contains a package gives its row. Packages
// of one row may import each other.
type rule struct {
	dir       string
	level     level
	ours      set      // folders of this module; "*" leaves out those for tests, but to those for tests
	notStdlib []string // "x/..." stands for what is directly below x
	libraries set      // other modules, besides those that the folder owns
}

// dialects are the HTTP APIs, and the one that tests mount beside them. Each has its own row in the table, the same for
// all, so none imports another one.
var dialects = []string{
	"adapter/adminapi", "adapter/httpapi", "adapter/oauthapi", "adapter/reachapi", "test/support/tiny",
}

var table = slices.Concat([]rule{
	{dir: "domain", level: domain, notStdlib: slices.Concat(world, []string{
		"context", "io/fs", "io/ioutil", "math/rand", "math/rand/...", "crypto/rand", "unsafe", "embed", "testing",
	})},
	{dir: "config", level: config, ours: set{"config/spelling", "domain"}, libraries: set{"github.com/knadh/koanf"}},
	{dir: "config/spelling", level: config, notStdlib: world},
	{dir: "port", level: port, ours: set{"domain"}, notStdlib: world},
	{dir: "port/portmock", level: tests, ours: set{"port", "domain"}, libraries: set{"github.com/golang/mock/gomock"}},
	{dir: "usecase", level: usecase, ours: set{"port", "domain"}, notStdlib: world},
	{dir: "usecase/admin", level: usecase, ours: set{"usecase", "port", "domain"}, notStdlib: world},

	{dir: "adapter", level: adapter, ours: set{"port", "domain"}, libraries: set{"*"}},
	{
		dir: "adapter/web", level: adapter, libraries: set{"*"},
		ours: set{"adapter/web/strict", "adapter/web/apidocs", "usecase", "domain"},
	},
	{
		dir: "adapter/web/strict", level: adapter, libraries: set{"go.yaml.in/yaml/v3"},
		ours: set{"config/spelling", "domain"},
	},
	{dir: "adapter/web/apidocs", level: adapter, libraries: set{"*"}},
	{
		dir: "adapter/manifest", level: adapter, libraries: set{"*"},
		ours: set{"adapter/web/strict", "config/spelling", "domain"},
	},
	{
		// It takes the flags of the settings, so it imports config: help, completion and the documents come from one table. A
		// table passed in by cmd/run would hide the import, and say each type twice.
		dir: "adapter/cli", level: adapter, libraries: set{"*"},
		ours: set{
			"adapter/manifest", "adapter/web/strict", "config", "config/spelling", "usecase", "usecase/admin", "domain",
		},
	},
	{dir: "adapter/gormstore", level: adapter, ours: set{"port", "domain"}, libraries: set{"*"}},
	{dir: "adapter/jwxsigner", level: adapter, ours: set{"port", "domain"}, libraries: set{"*"}},
	{dir: "adapter/memstore", level: adapter, ours: set{"port", "domain"}},
	// Other modules import it: it needs the standard library only, and nothing of this module.
	{dir: "adapter/verify", level: adapter},

	{dir: "cmd", level: cmd, ours: set{"cmd/run"}},
	{dir: "cmd/run", level: cmd, ours: set{"*"}, libraries: set{"*"}},
	{dir: "test", level: tests, ours: set{"*"}, libraries: set{"*"}},
	{
		dir: "test/support/tiny", level: tests, libraries: set{"*"},
		ours: set{"adapter/web", "adapter/web/strict", "domain"},
	},
	{dir: "test/storagetest", level: tests, ours: set{"port", "domain"}, libraries: set{"github.com/google/go-cmp"}},
}, perDialect(rule{
	level: dialect, libraries: set{"*"},
	ours: set{
		"adapter/web", "adapter/web/strict", "adapter/web/apidocs", "adapter/manifest",
		"usecase", "usecase/admin", "domain",
	},
}))

// perDialect returns r once for each dialect.
func perDialect(r rule) (rows []rule) {
	for _, r.dir = range dialects {
		rows = append(rows, r)
	}
	return rows
}

// world is what adapters are for. Of net, package netip and package url are values and may be used anywhere.
var world = []string{
	"database/...", "net", "net/http", "net/http/...", "net/mail", "net/rpc", "net/rpc/...", "net/smtp", "net/textproto",
	"os", "os/...", "log", "syscall",
}

// owner keeps a library in one place, so that moving off it is one package's work.
type owner struct {
	library string
	by      []string
}

var owned = []owner{
	{"github.com/labstack/echo", slices.Concat([]string{"adapter/web"}, dialects)},
	{"github.com/lestrrat-go/jwx", []string{"adapter/jwxsigner", "test"}},
	{"github.com/golang/mock", []string{"port/portmock"}},
	{"gorm.io", []string{"adapter/gormstore"}},
	{"github.com/jackc/pgx", []string{"adapter/gormstore", "test"}},
	{"modernc.org/sqlite", []string{"adapter/gormstore", "test"}},
	{"github.com/pressly/goose", []string{"adapter/gormstore"}},
	{"github.com/knadh/koanf", []string{"config"}},
	{"github.com/spf13/cobra", []string{"adapter/cli"}},
	{"github.com/spf13/pflag", []string{"adapter/cli"}},
}

// ruleOf returns the row of the longest folder that holds dir.
func ruleOf(dir string) (found *rule) {
	for i, r := range table {
		if matches(dir, r.dir) && (found == nil || len(r.dir) > len(found.dir)) {
			found = &table[i]
		}
	}
	return found
}

// set is a list of paths; each stands for everything below it as well, and "*" for everything.
type set []string

func (s set) has(p string) bool {
	return slices.ContainsFunc(s, func(dir string) bool { return dir == "*" || matches(p, dir) })
}

// matches reports whether p is dir or lies below it; a row of its own takes a package out of its parent's reach.
func matches(p, dir string) bool {
	return within(p, dir) && !slices.ContainsFunc(table, func(r rule) bool {
		return len(r.dir) > len(dir) && within(r.dir, dir) && within(p, r.dir)
	})
}

// mayImport reports whether the packages in dir may import own; both have a row.
func mayImport(dir, own string) bool {
	from, to := ruleOf(dir), ruleOf(own)
	return to == from || from.ours.has(own) && (!isForTests(own) || isForTests(dir))
}

func isForTests(p string) bool { return within(p, "test") || within(p, "port/portmock") }

func within(p, dir string) bool { return p == dir || strings.HasPrefix(p, dir+"/") }

func importPath(spec *ast.ImportSpec) string {
	p, err := strconv.Unquote(spec.Path.Value)
	if err != nil {
		panic(err) // the parser accepted it
	}
	return p
}
