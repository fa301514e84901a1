package arch

import (
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

// folders are the only ones at the top, besides those whose names begin with a dot, and working.
var folders = []string{"adapter", "cmd", "config", "domain", "port", "test", "usecase"}

// working is the folder that `refreshd serve` makes for its embedded database where it is started.
const working = "refreshd-data"

// clock is what the domain must not use of package time: it is told what time it is.
var clock = []string{
	"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker", "Local", "LoadLocation",
}

func TestLayout(t *testing.T) {
	problems, err := check(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Error(p)
	}
}

// A check that finds nothing because it looks at nothing would always pass.
func TestCheckFindsWhatBreaksARule(t *testing.T) {
	const ours = `"` + module + `/`
	for _, tc := range []struct {
		name, file, text string
		want             string // empty: nothing is wrong
	}{
		{"domain alone", "domain/a.go",
			`import ("time"; "io"; "net/netip"; "log/slog"); var now time.Time; func v() (v slog.Value) { return v }`, ""},
		{"domain, port", "domain/a.go", `import _ ` + ours + `port"`, "domain/a.go:2: domain imports port"},
		{"domain, context", "domain/a.go", `import _ "context"`,
			"domain/a.go:2: domain imports context of the standard library"},
		{"domain, net/http", "domain/a.go", `import _ "net/http"`,
			"domain/a.go:2: domain imports net/http of the standard library"},
		{"domain, database/sql", "domain/a.go", `import _ "database/sql"`,
			"domain/a.go:2: domain imports database/sql of the standard library"},
		{"domain, random numbers", "domain/a.go", `import _ "math/rand/v2"`,
			"domain/a.go:2: domain imports math/rand/v2 of the standard library"},
		{"domain, secret random numbers", "domain/a.go", `import _ "crypto/rand"`,
			"domain/a.go:2: domain imports crypto/rand of the standard library"},
		{"domain, a library", "domain/a.go", `import _ "golang.org/x/time/rate"`,
			"domain/a.go:2: domain imports golang.org/x/time/rate"},
		{"domain, behind a build tag", "domain/a.go", "//go:build never\n" + `import _ "os"`,
			"domain/a.go:3: domain imports os of the standard library"},
		{"domain, the clock", "domain/a.go", `import "time"; var t = time.Now()`,
			"domain/a.go:2: the domain uses time.Now"},
		{"domain, the clock as a value", "domain/a.go", `import "time"; var f = time.Now`,
			"domain/a.go:2: the domain uses time.Now"},
		{"domain, the clock renamed", "domain/a.go", `import x "time"; var d = x.Since(x.Time{})`,
			"domain/a.go:2: the domain uses time.Since"},
		{"domain, a dot import", "domain/a.go", `import . "time"`,
			"domain/a.go:2: dot import of time hides where a name comes from"},
		{"domain, a log line", "domain/a.go", `import "log/slog"; func f() { slog.Info("") }`,
			"domain/a.go:2: the domain uses slog.Info"},
		{"domain, a struct tag", "domain/a.go", "type a struct { B int `json:\"b\"` }",
			"domain/a.go:2: struct tag in the domain"},
		{"domain, in its tests", "domain/a_test.go",
			`import ("time"; "context"; _ ` + ours + `adapter/memstore"); var t = time.Now()`, ""},

		{"port", "port/a.go", `import ("context"; _ ` + ours + `domain")`, ""},
		{"port, its mocks", "port/a.go", `import _ ` + ours + `port/portmock"`,
			"port/a.go:2: port imports port/portmock"},
		{"port, use cases", "port/a.go", `import _ ` + ours + `usecase"`, "port/a.go:2: port imports usecase"},
		{"mocks", "port/portmock/a.go", `import (_ "github.com/golang/mock/gomock"; _ ` + ours + `port")`, ""},

		{"use case", "usecase/a.go", `import (_ ` + ours + `port"; _ ` + ours + `domain")`, ""},
		{"use case, an adapter", "usecase/a.go", `import _ ` + ours + `adapter/memstore"`,
			"usecase/a.go:2: usecase imports adapter/memstore"},
		{"use case, mocks", "usecase/a.go", `import _ ` + ours + `port/portmock"`,
			"usecase/a.go:2: usecase imports port/portmock"},
		{"use case, HTTP", "usecase/a.go", `import _ "net/http"`,
			"usecase/a.go:2: usecase imports net/http of the standard library"},
		{"use case, a library", "usecase/a.go", `import _ "github.com/labstack/echo/v4"`,
			"usecase/a.go:2: usecase imports github.com/labstack/echo/v4"},

		{"dialect", "adapter/httpapi/a.go",
			`import (_ ` + ours + `adapter/web"; _ ` + ours + `usecase"; _ "github.com/labstack/echo/v4/middleware")`, ""},
		{"dialect, a port", "adapter/httpapi/a.go", `import _ ` + ours + `port"`,
			"adapter/httpapi/a.go:2: adapter/httpapi imports port"},
		{"dialect, a store", "adapter/httpapi/a.go", `import _ ` + ours + `adapter/gormstore"`,
			"adapter/httpapi/a.go:2: adapter/httpapi imports adapter/gormstore"},
		{"decoder, a use case", "adapter/web/strict/a.go", `import _ ` + ours + `usecase"`,
			"adapter/web/strict/a.go:2: adapter/web/strict imports usecase"},
		{"documents, a use case", "adapter/manifest/a.go", `import _ ` + ours + `usecase"`,
			"adapter/manifest/a.go:2: adapter/manifest imports usecase"},
		{"documents, the server", "adapter/manifest/a.go", `import _ ` + ours + `adapter/web"`,
			"adapter/manifest/a.go:2: adapter/manifest imports adapter/web"},
		{"web, a dialect", "adapter/web/a.go", `import _ ` + ours + `adapter/httpapi"`,
			"adapter/web/a.go:2: adapter/web imports adapter/httpapi"},
		{"command line, settings", "adapter/cli/a.go",
			`import (_ ` + ours + `config"; _ "github.com/spf13/cobra/doc")`, ""},
		{"settings, the command line", "config/a.go", `import _ ` + ours + `adapter/cli"`,
			"config/a.go:2: config imports adapter/cli"},
		{"cobra, another package", "cmd/run/a.go", `import _ "github.com/spf13/cobra"`,
			"cmd/run/a.go:2: cmd/run imports github.com/spf13/cobra"},
		{"command line, ORM", "adapter/cli/a.go", `import _ "gorm.io/gorm"`,
			"adapter/cli/a.go:2: adapter/cli imports gorm.io/gorm"},
		{"store", "adapter/gormstore/rows/a.go",
			`import (_ "gorm.io/gorm"; _ "github.com/jackc/pgx/v5/stdlib"; _ ` + ours + `adapter/gormstore"; _ ` + ours +
				`port")`, ""},
		{"store, a use case", "adapter/gormstore/a.go", `import _ ` + ours + `usecase"`,
			"adapter/gormstore/a.go:2: adapter/gormstore imports usecase"},
		{"store, JWX", "adapter/gormstore/a.go", `import _ "github.com/lestrrat-go/jwx/v2/jws"`,
			"adapter/gormstore/a.go:2: adapter/gormstore imports github.com/lestrrat-go/jwx/v2/jws"},
		{"memory store, a library", "adapter/memstore/a.go", `import _ "github.com/google/uuid"`,
			"adapter/memstore/a.go:2: adapter/memstore imports github.com/google/uuid"},
		{"verifier", "adapter/verify/a.go", `import (_ "net/http"; _ "crypto/ecdsa")`, ""},
		{"verifier, the domain", "adapter/verify/a.go", `import _ ` + ours + `domain"`,
			"adapter/verify/a.go:2: adapter/verify imports domain"},
		{"verifier, a library", "adapter/verify/a.go", `import _ "golang.org/x/sync/singleflight"`,
			"adapter/verify/a.go:2: adapter/verify imports golang.org/x/sync/singleflight"},
		{"verifier, in its tests", "adapter/verify/a_test.go",
			`import (_ "github.com/labstack/echo/v4"; _ ` + ours + `adapter/jwxsigner")`, ""},
		{"a new adapter", "adapter/another/a.go", `import (_ "golang.org/x/time/rate"; _ ` + ours + `port")`, ""},
		{"a new adapter, another one", "adapter/another/a.go", `import _ ` + ours + `adapter/web"`,
			"adapter/another/a.go:2: adapter/another imports adapter/web"},
		{"configuration", "config/a.go", `import (_ "github.com/knadh/koanf/v2"; _ ` + ours + `domain")`, ""},
		{"configuration, a use case", "config/a.go", `import _ ` + ours + `usecase"`,
			"config/a.go:2: config imports usecase"},

		{"dialect, the document", "adapter/httpapi/a.go",
			`import (_ ` + ours + `adapter/manifest"; _ ` + ours + `adapter/web/apidocs"; _ ` + ours + `usecase/admin")`, ""},
		{"documentation, the domain", "adapter/web/apidocs/a.go", `import _ ` + ours + `domain"`,
			"adapter/web/apidocs/a.go:2: adapter/web/apidocs imports domain"},
		{"manifest, a use case", "adapter/manifest/a.go", `import _ ` + ours + `usecase"`,
			"adapter/manifest/a.go:2: adapter/manifest imports usecase"},
		{"use case, administration", "usecase/a.go", `import _ ` + ours + `usecase/admin"`,
			"usecase/a.go:2: usecase imports usecase/admin"},
		{"administration", "usecase/admin/a.go", `import (_ ` + ours + `usecase"; _ ` + ours + `port")`, ""},

		{"main", "cmd/refreshd/main.go", `import _ ` + ours + `cmd/run"`, ""},
		{"main, a store", "cmd/refreshd/main.go", `import _ ` + ours + `adapter/memstore"`,
			"cmd/refreshd/main.go:2: cmd/refreshd imports adapter/memstore"},
		{"composition root", "cmd/run/main.go", `import (_ ` + ours + `adapter/gormstore"; _ ` + ours + `config")`, ""},
		{"composition root, ORM", "cmd/run/main.go", `import _ "gorm.io/gorm"`,
			"cmd/run/main.go:2: cmd/run imports gorm.io/gorm"},
		{"composition root, what is for tests", "cmd/run/main.go", `import _ ` + ours + `test/support/postgres"`,
			"cmd/run/main.go:2: cmd/run imports test/support/postgres"},
		{"composition root, mocks", "cmd/run/main.go", `import _ ` + ours + `port/portmock"`,
			"cmd/run/main.go:2: cmd/run imports port/portmock"},
		{"conformance suite, an adapter", "test/storagetest/a.go", `import _ ` + ours + `adapter/memstore"`,
			"test/storagetest/a.go:2: test/storagetest imports adapter/memstore"},
		{"PostgreSQL for tests", "test/support/postgres/a.go", `import _ "github.com/jackc/pgx/v5"`, ""},

		{"a secret, compared", "usecase/a.go", `func f(a, b s) bool { return a.Reveal() == b.Reveal() }`,
			"usecase/a.go:2: a secret is compared with ==: use crypto/subtle or hmac.Equal"},
		{"a secret, in a variable", "usecase/a.go", `func f(a s, b string) bool { v := a.Reveal(); return b != v }`,
			"usecase/a.go:2: a secret is compared with !=: use crypto/subtle or hmac.Equal"},
		{"a MAC, compared", "domain/a.go",
			`import "bytes"; func f(k k, a, b []byte) bool { return bytes.Equal(k.mac(a), b) }`,
			"domain/a.go:2: a secret is compared by bytes.Equal: use crypto/subtle or hmac.Equal"},
		{"a MAC, made here", "domain/a.go",
			`import "slices"; func f(h h, b []byte) bool { sum := h.Sum(nil); return slices.Equal(sum[:20], b) }`,
			"domain/a.go:2: a secret is compared by slices.Equal: use crypto/subtle or hmac.Equal"},
		{"a secret, in constant time", "domain/a.go",
			`import "crypto/subtle"; func f(k k, a, b []byte) bool { return subtle.ConstantTimeCompare(k.mac(a), b) == 1 }`, ""},
		{"a secret, by hmac", "domain/a.go",
			`import "crypto/hmac"; func f(k k, a, b []byte) bool { return !hmac.Equal(k.mac(a), b) == false }`, ""},
		{"whether there is a secret", "usecase/a.go",
			`import "strings"; func f(a s) bool { return a.Reveal() == "" || strings.Count(a.Reveal(), ".") == 2 || ` +
				`len(a.Reveal()) == 3 }`, ""},

		{"a test that skips", "usecase/a_test.go", `func f(t *testing.T) { t.Skip() }`,
			"usecase/a_test.go:2: t.Skip: a test that skips hides what it does not test"},
		{"a helper that skips", "test/e2e/a.go", `func f(tb testing.TB) { tb.Skipf("") }`,
			"test/e2e/a.go:2: tb.Skipf: a test that skips hides what it does not test"},
		{"what a short run leaves out", "test/support/short/a.go", `func f(tb testing.TB) { tb.Skipf("") }`, ""},
		{"a test that sleeps", "usecase/a_test.go", `import "time"; func f() { time.Sleep(1) }`,
			"usecase/a_test.go:2: time.Sleep: a comment here has to give a reason"},
		{"a test that sleeps with a reason", "usecase/a_test.go",
			`import "time"; func f() { time.Sleep(1) } // a slow client`, ""},
		{"a test that sleeps, said before", "usecase/a_test.go",
			"import \"time\"\n// a slow client\nfunc f() { time.Sleep(1) }", ""},
		{"a test that gives up", "usecase/a_test.go", `import "time"; func f() { select { case <-time.After(1): } }`,
			"usecase/a_test.go:2: time.After: a comment here has to give a reason"},
		{"a test that measures", "usecase/a_test.go",
			`import "time"; func f(t time.Time) bool { return time.Since(t) > 1 }`,
			"usecase/a_test.go:2: a comparison of how long it took: a comment here has to give a reason"},
		{"a test that measures first", "usecase/a_test.go",
			`import "time"; func f(t time.Time) { if d := time.Since(t); d > 1 {} }`,
			"usecase/a_test.go:2: a comparison of how long it took: a comment here has to give a reason"},
		{"a test that prints what it took", "usecase/a_test.go",
			`import "time"; func f(t time.Time) { println(time.Since(t)) }`, ""},
		{"a test in a bubble", "usecase/a_test.go",
			`import ("time"; _ "testing/synctest"); func f() { time.Sleep(1) }`, ""},
		{"a folder beyond the layout", "internal/a.go", ``,
			"internal: not a folder of the layout: adapter cmd config domain port test usecase"},
		{"a package at the top", "a.go", ``, "a.go:1: package . has no row in the table of import directions"},
		{"a dot folder", ".ci/a.go", `import _ "nowhere.example/x"`, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			text := "package a\n" + tc.text
			if strings.HasPrefix(tc.text, "//go:build") {
				tag, rest, _ := strings.Cut(tc.text, "\n")
				text = tag + "\npackage a\n" + rest
			}
			got, err := check(fstest.MapFS{tc.file: {Data: []byte(text)}})
			if err != nil {
				t.Fatal(err)
			}
			var want []string
			if tc.want != "" {
				want = []string{tc.want}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}
