package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"github.com/refreshd/refreshd/adapter/cli"
	"github.com/refreshd/refreshd/config"
)

const testKey = "ak_0123456789abcdefghijklmn"

// fake is a service that records requests, and sends the responses of a test.
type fake struct {
	mu       sync.Mutex
	requests []string
	respond  func(w http.ResponseWriter, r *http.Request)
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	f.mu.Lock()
	f.requests = append(f.requests, strings.TrimSpace(fmt.Sprintf("%s %s %s", r.Method, r.URL, body)))
	f.mu.Unlock()
	f.respond(w, r)
}

// sends writes a response in the envelope.
func sends(w http.ResponseWriter, status int, data string) {
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"success":true,"message":"Done.","data":%s}`, data)
}

// result is that of a command of administration.
type result struct {
	stdout, stderr string
	status         int // 2 for wrong usage
	err            error
	opened         bool // the store
}

// administer runs a command line on the fake service, through --server.
func administer(t *testing.T, f *fake, stdin string, args ...string) (r result) {
	t.Helper()
	service := httptest.NewServer(f)
	defer service.Close()
	return administerAt(t, service.URL, stdin, args...)
}

func administerAt(t *testing.T, server, stdin string, args ...string) (r result) {
	t.Helper()
	var out, notes bytes.Buffer
	p := cli.Program{
		Environ: []string{"REFRESHD_SERVER=" + server, "REFRESHD_API_KEY=" + testKey},
		Schemes: []config.Scheme{config.Memory, config.SQLite},
		Stdin:   strings.NewReader(stdin), Stdout: &out, Stderr: &notes,
		Operate: func(context.Context, config.Config, bool) (cli.Transport, error) {
			r.opened = true
			return nil, errors.New("there is no store here")
		},
	}
	r.err = p.Run(t.Context(), args)
	r.stdout, r.stderr = out.String(), notes.String()
	var failure *cli.Failure
	switch {
	case errors.As(r.err, &failure):
		r.status = failure.Status
	case errors.As(r.err, new(*cli.UsageError)):
		r.status = cli.StatusUsage
	case r.err != nil:
		r.status = cli.StatusFailed
	}
	return r
}

// A script decides by the exit status, and a person by the message: what is wrong, where, what to do.
func TestARefusalHasItsStatusAndSaysWhatToDo(t *testing.T) {
	for _, tt := range []struct {
		name    string
		status  int
		header  map[string]string
		body    string
		want    int
		message string
	}{
		{"not found", 404, map[string]string{"X-Request-Id": "r-1"}, "", cli.StatusNotFound, "there is no tenant acme"},
		{"API key", 401, nil, "", cli.StatusRefused,
			"the API key was refused: it is unknown, has expired, or has no PATCH on /tenant/:id. " +
				"The log of the service says which"},
		{"not valid", 400, nil,
			`{"success":false,"message":"m","errors":{"fieldErrors":{"b":[{"code":"[blank]b","message":"two"}],` +
				`"a":[{"code":"[blank]a","message":"one\u001b[31m"}]},"generalErrors":[{"code":"x","message":"three"}]}}`,
			cli.StatusRefused, "a: one\\x1b[31m\nb: two\nthree"},
		{"another state", 409, nil,
			`{"success":false,"message":"m","errors":{"fieldErrors":{"key":[` +
				`{"code":"[conflict]key","message":"end it"}]}}}`,
			cli.StatusRefused, "key: end it"},
		{"stale", 412, nil, `{"success":false,"message":"m"}`, cli.StatusRefused,
			"the tenant acme has changed since version 7: show it again, and repeat the change"},
		{"too many", 429, map[string]string{"Retry-After": "9"}, `{"success":false,"message":"m"}`, cli.StatusFailed,
			"too many requests: nothing was done; try again in 9 seconds. To repeat the command is safe"},
		{"overloaded", 503, map[string]string{"Retry-After": "1"}, "", cli.StatusFailed,
			"the service or its database is overloaded or cannot be reached; try again in 1 seconds. " +
				"To repeat the command is safe"},
		{"a fault", 500, map[string]string{"X-Request-Id": "r-1"}, "", cli.StatusFailed,
			"an internal error: the log says more about the request r-1"},
		{"another refusal", 413, nil, `{"success":false,"message":"too large"}`, cli.StatusRefused, "too large"},
		{"no envelope", 200, nil, "<html>", cli.StatusFailed, "the response to PATCH /tenant/acme is 200 OK: check "},
		{"another service", 404, nil, "404 page not found", cli.StatusFailed,
			"the response to PATCH /tenant/acme is 404 Not Found: check "},
		{"a redirect", 302, map[string]string{"Location": "https://elsewhere.example/"}, "", cli.StatusFailed,
			"the response to PATCH /tenant/acme is 302 Found: check "},
	} {
		f := &fake{respond: func(w http.ResponseWriter, r *http.Request) {
			for name, value := range tt.header {
				w.Header().Set(name, value)
			}
			w.WriteHeader(tt.status)
			_, _ = io.WriteString(w, tt.body)
		}}
		got := administer(t, f, "", "tenant", "update", "acme", "--set=name=a", "--if-match=7")
		if got.status != tt.want || got.err == nil || !strings.HasPrefix(got.err.Error(), tt.message) || got.stdout != "" {
			t.Errorf("%s: status %d, printed %q, error\n%v\nwant %d and\n%s", tt.name, got.status, got.stdout, got.err,
				tt.want, tt.message)
		}
		if len(f.requests) != 1 {
			t.Errorf("%s: %d requests, want one: %q", tt.name, len(f.requests), f.requests)
		}
		if strings.Contains(fmt.Sprint(got), testKey) {
			t.Errorf("%s: the API key is shown: %+v", tt.name, got)
		}
	}
	refused := &fake{respond: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }}
	for line, permission := range map[string]string{
		"token list --tenant=acme":            "GET on /sessions",
		"token list --tenant=acme --user=u-1": "GET on /jwt/refresh",
	} {
		got := administer(t, refused, "", strings.Fields(line)...)
		if got.err == nil || !strings.Contains(got.err.Error(), "has no "+permission+", is not for the tenant acme") {
			t.Errorf("%s: error %v, want one that names %s", line, got.err, permission)
		}
	}
	got := administerAt(t, "http://127.0.0.1:1", "", "tenant", "list")
	if got.status != cli.StatusFailed || !strings.HasPrefix(got.err.Error(), "no response from http://127.0.0.1:1: ") ||
		!strings.Contains(got.err.Error(), "check --server") {
		t.Errorf("no service: %d, %v", got.status, got.err)
	}
}

// The key goes to the service that is named, and no proxy's redirect can send it elsewhere.
func TestARequestHasTheKeyAndTheTenant(t *testing.T) {
	var header http.Header
	f := &fake{respond: func(w http.ResponseWriter, r *http.Request) {
		header = r.Header.Clone()
		w.Header().Set("ETag", `"4"`)
		sends(w, 200, `{"id":"shop","name":"a\tb","roles":["x","y"],"n":{"at":null,"insertInstant":1893456000000}}`)
	}}
	got := administer(t, f, "", "application", "show", "shop", "--tenant=acme")
	if got.err != nil || got.opened {
		t.Fatalf("%v, opened the store: %t", got.err, got.opened)
	}
	if header.Get("Authorization") != "Bearer "+testKey || header.Get("X-Stencil-TenantId") != "acme" {
		t.Errorf("sent %v", header)
	}
	want := "id\tshop\nname\ta\\tb\nroles\tx, y\nn.at\t\nn.insertInstant\t2030-01-01T00:00:00Z\nversion\t4\n"
	if diff := cmp.Diff(want, got.stdout); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	yaml := administer(t, f, "", "application", "show", "shop", "--tenant=acme", "-o", "yaml").stdout
	if want := "id: shop\nname: \"a\\tb\"\nroles:\n  - x\n  - \"y\"\n" +
		"\"n\":\n  at: null\n  insertInstant: 1893456000000\n"; yaml != want {
		t.Errorf("YAML\n%s\nwant\n%s", yaml, want)
	}
}

// A list is followed to its end, page by page, by the query of the Link alone.
func TestAListFollowsItsPages(t *testing.T) {
	f := &fake{respond: func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Query().Get("cursor") {
		case "":
			w.Header().Set("Link", `<https://elsewhere.example/x?cursor=2&limit=1000>; rel="next"`)
			sends(w, 200, `[{"id":"a","name":"A"},{"id":"b"}]`)
		case "2":
			w.Header().Set("Link", `<?cursor=3&limit=1000>; rel="next"`)
			sends(w, 200, `[]`)
		default:
			sends(w, 200, `[{"id":"c","issuer":"https://c.example"}]`)
		}
	}}
	for args, want := range map[string]string{
		"":                  "ID\tNAME\tISSUER\na\tA\t\nb\t\t\nc\t\thttps://c.example\n",
		"--limit=2":         "ID\tNAME\tISSUER\na\tA\t\nb\t\t\n",
		"--limit=1":         "ID\tNAME\tISSUER\na\tA\t\n",
		"-o json --limit=1": "[\n  {\n    \"id\": \"a\",\n    \"name\": \"A\"\n  }\n]\n",
		"-o yaml":           "- id: a\n  name: A\n- id: b\n- id: c\n  issuer: https://c.example\n",
	} {
		got := administer(t, f, "", append([]string{"tenant", "list"}, strings.Fields(args)...)...)
		if got.err != nil || got.stdout != want {
			t.Errorf("tenant list %s: %v\n%s\nwant\n%s", args, got.err, got.stdout, want)
		}
		if more := strings.Contains(got.stderr, "There are more"); more != strings.Contains(args, "--limit") {
			t.Errorf("tenant list %s: says %q of more", args, got.stderr)
		}
	}
	loop := &fake{respond: func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", `<?cursor=1>; rel="next"`)
		sends(w, 200, `[]`)
	}}
	if got := administer(t, loop, "", "tenant", "list"); got.status != cli.StatusFailed || len(loop.requests) != 2 {
		t.Errorf("a list without an end: %d, %v, %d requests", got.status, got.err, len(loop.requests))
	}
}

// What a command line sends is what the API documents.
func TestCommandsSendTheRequestsOfTheAPI(t *testing.T) {
	const id = "01981e2c-9a38-7b4d-8a8e-d5a2f1a4c0de"
	dir := t.TempDir()
	file := filepath.Join(dir, "a.yaml")
	if err := os.WriteFile(file, []byte("id: acme\nname: $5 ${X}\nexpiresAt: 2030-01-31T12:00:00Z\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		line, stdin string
		want        []string
	}{
		{"token list --tenant=t --user=u --application=a --state=all", "",
			[]string{"GET /jwt/refresh?applicationsId=a&limit=1000&state=all&userId=u"}},
		{"token show --tenant=t " + id, "", []string{"GET /jwt/refresh/" + id + "?state=all"}},
		{"token revoke --tenant=t " + id, "", []string{"DELETE /jwt/refresh/" + id}},
		{"token revoke --tenant=t --user=u --yes", "",
			[]string{"GET /jwt/refresh?count=true&limit=1&userId=u", `DELETE /jwt/refresh {"userId":"u"}`}},
		{"token revoke --tenant=t --user=u --except=" + id + " --yes", "",
			[]string{"GET /jwt/refresh?count=true&limit=1&userId=u", "GET /jwt/refresh/" + id + "?state=all",
				`DELETE /jwt/refresh {"exceptTokenId":"` + id + `","userId":"u"}`}},
		{"token revoke --tenant=t --user=u --application=a --yes", "",
			[]string{"GET /jwt/refresh?applicationsId=a&count=true&limit=1&userId=u",
				`DELETE /jwt/refresh {"applicationsId":"a","userId":"u"}`}},
		{"token revoke --tenant=t --all-in-tenant --yes", "",
			[]string{"GET /jwt/refresh?count=true&limit=1", `DELETE /jwt/refresh {"allInTenant":true}`}},
		{"token revoke --tenant=t --all-in-tenant --dry-run", "", []string{"GET /jwt/refresh?count=true&limit=1"}},
		{"token revoke --tenant=t --application=a --dry-run --yes", "",
			[]string{"GET /jwt/refresh?applicationsId=a&count=true&limit=1"}},
		{"tenant create acme --set=name=A --set=jwtConfiguration.timeToLiveInSeconds=9", "",
			[]string{`POST /tenant/acme {"jwtConfiguration":{"timeToLiveInSeconds":9},"name":"A"}`}},
		{"tenant create --set=name='12'", "", []string{`POST /tenant {"name":"12"}`}},
		{"tenant create -f " + file, "",
			[]string{`POST /tenant/acme {"expiresAt":"2030-01-31T12:00:00Z","id":"acme","name":"$5 ${X}"}`}},
		{"tenant update acme -f - --if-match=3", "{\"id\": \"acme\"}", []string{`PUT /tenant/acme {"id":"acme"}`}},
		{"tenant update acme --set=name=null --set=issuer=https://a:b --set=x=[1]", "",
			[]string{`PATCH /tenant/acme {"issuer":"https://a:b","name":null,"x":[1]}`}},
		{"tenant delete acme --yes", "", []string{"DELETE /tenant/acme"}},
		{"tenant delete acme --dry-run", "", []string{"GET /tenant/acme", "GET /jwt/refresh?count=true&limit=1"}},
		{"application create a%2Fb --tenant=t", "", []string{"POST /application/a%252Fb {}"}},
		{"application delete shop --tenant=t --dry-run", "",
			[]string{"GET /application/shop", "GET /jwt/refresh?applicationsId=shop&count=true&limit=1"}},
		{"application end-previous shop --tenant=t", "", []string{"DELETE /application/shop/secret"}},
		{"application end-previous shop --tenant=t --all --yes", "", []string{"DELETE /application/shop/secret?all=true"}},
		{"application update shop --tenant=t --set=audiences=[api] --set=clientKeys=null", "",
			[]string{`PATCH /application/shop {"audiences":["api"],"clientKeys":null}`}},
		{"apikey show " + id, "", []string{"GET /api-key/" + id}},
		{"apikey rotate " + id, "", []string{"POST /api-key/" + id + "/key"}},
		{"apikey rotate --force " + id, "", []string{"POST /api-key/" + id + `/key {"force":true}`}},
		{"apikey end-previous " + id, "", []string{"DELETE /api-key/" + id + "/key"}},
		{"apikey delete " + id, "", []string{"DELETE /api-key/" + id}},
		{"key show k", "", []string{"GET /key/k"}},
		{"key generate k --tenant=t --algorithm=RS256 --bits=3072 --name=n --starts=2030-01-01T00:00:00Z", "",
			[]string{`POST /key/generate/k {"algorithm":"RS256","bits":3072,"name":"n","startsInstant":1893456000000}`}},
		{"key generate --kind=token --now --force", "",
			[]string{`POST /key/generate {"force":true,"kind":"token","signNow":true}`}},
		{"key import k -f - --known-since=2030-01-01T00:00:00Z", "PEM",
			[]string{`POST /key/import/k {"knownInstant":1893456000000,"privateKey":"PEM"}`}},
		{"key update k --name= --starts=never", "", []string{`PATCH /key/k {"name":"","startsInstant":253402214400000}`}},
		{"key rotate --algorithm=ES256", "", []string{`POST /key/rotate {"algorithm":"ES256"}`}},
		{"key retire a/b --force", "", []string{`POST /key/retire/a%2Fb {"force":true}`}},
		{"key retire k --dry-run", "", []string{"GET /key/k"}},
		{"key revoke k --yes --new-key", "", []string{`POST /key/revoke/k {"newKey":true}`}},
		{"key revoke k --dry-run", "", []string{"GET /key/k"}},
		{"audit --from=2030-01-01T00:00:00Z --kind=k --actor=a --object=o --request-id=r --limit=5", "",
			[]string{"GET /audit?actor=a&from=1893456000000&kind=k&limit=5&object=o&requestId=r"}},
	} {
		f := &fake{respond: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Total-Count", "3")
			if r.Method == http.MethodGet && (r.URL.Path == "/jwt/refresh" || r.URL.Path == "/audit") {
				sends(w, 200, "[]")
				return
			}
			sends(w, 200, `{"id":"x","name":"n"}`)
		}}
		got := administer(t, f, tt.stdin, strings.Fields(tt.line)...)
		if got.err != nil || !cmp.Equal(f.requests, tt.want) {
			t.Errorf("refreshd %s: %v\nsent %q\nwant %q", tt.line, got.err, f.requests, tt.want)
		}
	}
}

// An API key may be named by its name. A wrong name changes nothing.
func TestAnAPIKeyIsFoundByItsName(t *testing.T) {
	f := &fake{respond: func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			sends(w, 200, `[{"id":"1","name":"a"},{"id":"2","name":"backend"}]`)
			return
		}
		sends(w, 200, `{"id":"2"}`)
	}}
	if got := administer(t, f, "", "apikey", "delete", "backend"); got.err != nil ||
		got.stdout != "deleted the API key backend\n" || f.requests[len(f.requests)-1] != "DELETE /api-key/2" {
		t.Errorf("%+v, sent %q", got, f.requests)
	}
	f.requests = nil
	if got := administer(t, f, "", "apikey", "delete", "back"); got.status != cli.StatusNotFound || len(f.requests) != 1 {
		t.Errorf("%+v, sent %q", got, f.requests)
	}
}

// The text of a new key is on the output alone, so that a script can take it, or in a file that only its owner reads.
func TestANewKeyIsShownOnceOrWrittenToAFile(t *testing.T) {
	f := &fake{respond: func(w http.ResponseWriter, _ *http.Request) {
		sends(w, 201, `{"id":"2","name":"backend","key":"`+testKey+`x"}`)
	}}
	const id = "01981e2c-9a38-7b4d-8a8e-d5a2f1a4c0de"
	for _, line := range []string{"apikey create --set=name=backend", "apikey rotate " + id} {
		got := administer(t, f, "", strings.Fields(line)...)
		if got.err != nil || got.stdout != testKey+"x\n" || !strings.Contains(got.stderr, "shown once") ||
			strings.Contains(got.stderr, testKey) {
			t.Errorf("%s: %+v", line, got)
		}
		got = administer(t, f, "", append(strings.Fields(line), "-o", "json")...)
		var object struct{ Key string }
		if err := json.Unmarshal([]byte(got.stdout), &object); err != nil || object.Key != testKey+"x" {
			t.Errorf("%s, JSON: %+v, %v", line, got, err)
		}
		file := filepath.Join(t.TempDir(), "backend.key")
		for _, output := range []string{"table", "json"} {
			got = administer(t, f, "", append(strings.Fields(line), "--key-file="+file, "--output="+output)...)
			text, err := os.ReadFile(file)
			info, _ := os.Stat(file)
			if err != nil || string(text) != testKey+"x\n" || info.Mode().Perm() != 0o600 ||
				strings.Contains(got.stdout+got.stderr, testKey) {
				t.Errorf("%s --key-file: %+v, %v, %v", line, got, err, info)
			}
			sent := len(f.requests)
			again := administer(t, f, "", append(strings.Fields(line), "--key-file="+file)...)
			if again.status != cli.StatusUsage || len(f.requests) != sent {
				t.Errorf("%s --key-file that exists: %+v: a key was made that can be lost", line, again)
			}
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
		}
	}
	got := administer(t, f, "", "apikey", "create", "--set=key="+testKey)
	if got.status != cli.StatusUsage || strings.Contains(got.err.Error(), testKey) {
		t.Errorf("a key as an argument: %+v", got)
	}
}

// A command line that is wrong, or that needs a confirmation, sends nothing and opens nothing.
func TestAWrongOrUnconfirmedCommandSendsNothing(t *testing.T) {
	const id = "01981e2c-9a38-7b4d-8a8e-d5a2f1a4c0de"
	f := &fake{respond: func(w http.ResponseWriter, _ *http.Request) { sends(w, 200, "{}") }}
	for _, line := range []string{
		"token list", "token list --tenant=t x", "token list --tenant=t --limit=x", "token list --tenant=t -o xml",
		"token show --tenant=t", "token show --tenant=t x", "token show " + id,
		"token revoke --tenant=t", "token revoke --tenant=t --user=u", "token revoke --tenant=t --application=a",
		"token revoke --tenant=t --all-in-tenant", "token revoke --tenant=t --all-in-tenant --user=u --yes",
		"token revoke --tenant=t --user= --application=a --yes", "token revoke --tenant=t --user= --yes",
		"token revoke --tenant=t " + id + " --user=u --yes", "token revoke --tenant=t --except=" + id + " --yes",
		"token revoke --tenant=t --user=u --except=x --yes",
		"tenant", "tenant show", "tenant show a b", "tenant delete acme", "tenant update acme",
		"tenant update acme --set=name", "tenant update acme --set=name=a -f x", "tenant update acme --set==a",
		"tenant update acme --set=a=1 --set=a.b=2", "tenant update acme --set=name=a --if-match=x",
		"application list", "application delete shop --tenant=t", "application create --set=a=b",
		"application end-previous shop --tenant=t --all", "application secret", "application secret shop",
		"application update shop --tenant=t --set=clientSecrets=[]", "application secret shop --tenant=t --secret-file=.",
		"apikey rotate", "apikey create a b", "key show", "key delete k",
		"audit --from=yesterday", "audit --until=x", "audit -o yaml", "audit --follow --until=1h", "audit x",
	} {
		got := administer(t, f, "acme\n", strings.Fields(line)...)
		if (got.status != cli.StatusUsage && got.stdout == "") || len(f.requests) > 0 || got.opened {
			t.Errorf("refreshd %s: status %d, %v; sent %q", line, got.status, got.err, f.requests)
		}
	}
	for text, says := range map[string]string{
		"name: a\nname: b\n": "line ", "- a\n": "one object", "a: b\n---\nc: d\n": "more than one document",
		"a: {1: b}\n": "in quotes", "key: [secret-text": "one object",
	} {
		got := administer(t, f, text, "tenant", "create", "-f", "-")
		if got.err == nil || !strings.Contains(got.err.Error(), says) || len(f.requests) > 0 ||
			strings.Contains(got.err.Error(), "secret-text") {
			t.Errorf("a document %q: %v, want one that says %q", text, got.err, says)
		}
	}
}

// A new API key is named by an argument, as a tenant is by its id; a key is no argument, since process lists show it.
func TestAnAPIKeyIsNamedByAnArgument(t *testing.T) {
	f := &fake{respond: func(w http.ResponseWriter, _ *http.Request) {
		sends(w, 201, `{"id":"2","name":"backend","key":"`+testKey+`x"}`)
	}}
	want := `POST /api-key {"name":"backend","tenantId":"acme"}`
	for _, line := range []string{
		"apikey create backend --set=tenantId=acme", "apikey create backend --set=tenantId=acme --set=name=backend",
	} {
		f.requests = nil
		if got := administer(t, f, "", strings.Fields(line)...); got.err != nil || f.requests[0] != want {
			t.Errorf("%s: %+v, sent %q, want %q", line, got, f.requests, want)
		}
	}
	f.requests = nil
	for _, line := range []string{"a b", "a --set=name=b", testKey} {
		got := administer(t, f, "", append([]string{"apikey", "create"}, strings.Fields(line)...)...)
		if got.status != cli.StatusUsage || len(f.requests) > 0 || strings.Contains(got.err.Error(), testKey) {
			t.Errorf("apikey create %s: %+v, sent %q, want it refused", line, got, f.requests)
		}
	}
}

// The output of a rotation says how it ends: the former text stays valid until the next step, which is easy to forget.
func TestARotationNamesTheNextStep(t *testing.T) {
	f := &fake{respond: func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			sends(w, 200, `[{"id":"2","name":"backend"}]`)
			return
		}
		sends(w, 200, `{"id":"2","name":"backend","key":"`+testKey+`x"}`)
	}}
	if got := administer(t, f, "", "apikey", "rotate", "backend"); got.stdout != testKey+"x\n" ||
		!strings.Contains(got.stderr, "refreshd apikey end-previous backend") {
		t.Errorf("%+v", got)
	}
}

// A command that changed nothing says so, in a table and in JSON, with the status of success.
func TestTheEndOfNoPreviousTextIsNoEnd(t *testing.T) {
	for ended, want := range map[bool]string{
		true:  "ended the previous text of the API key backend\n",
		false: "the API key backend has no previous text: nothing was changed\n",
	} {
		f := &fake{respond: func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet {
				sends(w, 200, `[{"id":"2","name":"backend"}]`)
				return
			}
			sends(w, 200, fmt.Sprintf(`{"endedPreviousKey":%t,"id":"2","name":"backend"}`, ended))
		}}
		if got := administer(t, f, "", "apikey", "end-previous", "backend"); got.err != nil || got.stdout != want {
			t.Errorf("ended %t: %+v, want %q", ended, got, want)
		}
		got := administer(t, f, "", "apikey", "end-previous", "backend", "-o", "json")
		member := fmt.Sprintf(`"endedPreviousKey": %t`, ended)
		if got.err != nil || !strings.Contains(got.stdout, member) {
			t.Errorf("ended %t: %+v, want %s", ended, got, member)
		}
	}
}

// A misspelt id revokes nothing. The count says so, since the revocation of none is no error.
func TestARevocationSaysHowManyItEnded(t *testing.T) {
	const selected = "No active refresh token was selected"
	for _, tt := range []struct{ args, count, prints string }{
		{"--user=u", "2", "revoked the refresh tokens of the user u: 2 active refresh tokens\n"},
		{"--user=u", "0", "revoked the refresh tokens of the user u: 0 active refresh tokens\n"},
		{"--application=a", "0", "revoked the refresh tokens of the application a: 0 active refresh tokens\n"},
		{"--user=u", "", "revoked the refresh tokens of the user u: an unknown number of active refresh tokens\n"},
		{"--user=u -o json", "10000+", "{\n  \"refreshTokens\": \"10000+\",\n  \"userId\": \"u\"\n}\n"},
	} {
		f := &fake{respond: func(w http.ResponseWriter, r *http.Request) {
			switch {
			case r.Method == http.MethodDelete:
				sends(w, 200, `{"userId":"u"}`)
			case tt.count == "": // the API key may not list
				w.WriteHeader(http.StatusUnauthorized)
			default:
				w.Header().Set("X-Total-Count", tt.count)
				sends(w, 200, "[]")
			}
		}}
		got := administer(t, f, "", strings.Fields("token revoke --tenant=t --yes "+tt.args)...)
		if got.err != nil || got.stdout != tt.prints || strings.Contains(got.stderr, selected) != (tt.count == "0") {
			t.Errorf("%s of %q: %+v, want %q", tt.args, tt.count, got, tt.prints)
		}
	}
}

// A table of events says what each is about and which fields an update changed, and shows no value.
func TestATableOfEventsNamesWhatChanged(t *testing.T) {
	f := &fake{respond: func(w http.ResponseWriter, _ *http.Request) {
		sends(w, 200, `[{"instant":1796062081000,"kind":"tenant.updated","objectId":"acme","actor":{"kind":"apiKey","name":"ci"},
			"before":{"active":null,"jwtConfiguration.timeToLiveInSeconds":"900"},"after":{"name":"Acme","active":"false"}},
			{"instant":1796062080000,"kind":"tokens.revoked","applicationId":"shop","userId":"u-1","actor":{"kind":"operator"}},
			{"instant":1796062079000,"kind":"tenant.deleted","objectId":"old","actor":{"kind":"operator"},"before":{"name":"O"}}]`)
	}}
	want := "TIME\tKIND\tTENANT\tOBJECT\tACTOR\tNAME\tADDRESS\tREQUEST\tCHANGED\n" +
		"2026-11-30T18:08:01Z\ttenant.updated\t\tacme\tapiKey\tci\t\t\tactive, jwtConfiguration.timeToLiveInSeconds\n" +
		"2026-11-30T18:08:00Z\ttokens.revoked\t\tapplication shop, user u-1\toperator\t\t\t\t\n" +
		"2026-11-30T18:07:59Z\ttenant.deleted\t\told\toperator\t\t\t\t\n"
	if got := administer(t, f, "", "audit"); got.stdout != want {
		t.Errorf("%+v\nwant\n%s", got, want)
	}
}

// A time may be some days ago, because an audit trail is kept for months.
func TestAnAuditBeginsDaysAgo(t *testing.T) {
	f := &fake{respond: func(w http.ResponseWriter, _ *http.Request) { sends(w, 200, `[]`) }}
	begin := time.Now().Add(-7 * 24 * time.Hour).UnixMilli()
	got := administer(t, f, "", "audit", "--from=7d")
	end := time.Now().Add(-7 * 24 * time.Hour).UnixMilli()
	_, query, _ := strings.Cut(strings.Join(f.requests, ""), "from=")
	digits, _, _ := strings.Cut(query, "&")
	if from, err := strconv.ParseInt(digits, 10, 64); err != nil || from < begin || from > end {
		t.Errorf("%+v sent %q, want a from of %d to %d", got, f.requests, begin, end)
	}
	for _, text := range []string{"-1d", "d", "1.5d", "99999999999999999999d"} {
		if got := administer(t, f, "", "audit", "--from="+text); got.status != cli.StatusUsage {
			t.Errorf("--from=%s: %+v, want it refused", text, got)
		}
	}
}

// --follow prints each event once, the oldest first, although each poll reads the last two minutes again.
func TestFollowPrintsEachEventOnce(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	polls := 0
	f := &fake{}
	f.respond = func(w http.ResponseWriter, r *http.Request) {
		polls++
		switch polls {
		case 1:
			sends(w, 200, `[{"id":"2"},{"id":"1"}]`)
		case 2:
			w.WriteHeader(http.StatusServiceUnavailable)
		case 3: // an event that is older than one that was printed
			sends(w, 200, `[{"id":"4"},{"id":"3"},{"id":"2"},{"id":"1.5"},{"id":"1"}]`)
		default:
			cancel()
			sends(w, 200, `[]`)
		}
	}
	service := httptest.NewServer(f)
	defer service.Close()
	var out, notes bytes.Buffer
	err := cli.Program{
		Environ: []string{"REFRESHD_SERVER=" + service.URL, "REFRESHD_API_KEY=" + testKey},
		Schemes: []config.Scheme{config.SQLite}, Stdout: &out, Stderr: &notes,
	}.Run(ctx, []string{"audit", "--follow", "--from=1h", "-o", "json"})
	want := "{\"id\":\"1\"}\n{\"id\":\"2\"}\n{\"id\":\"1.5\"}\n{\"id\":\"3\"}\n{\"id\":\"4\"}\n"
	if err != nil || out.String() != want {
		t.Errorf("%v\n%s\nwant\n%s", err, out.String(), want)
	}
	if strings.Count(notes.String(), "Trying again") != 1 {
		t.Errorf("a failure is reported as %q, want once", notes.String())
	}
}

// A shell completes ids from the store or the service. What fails there must not be printed between the words.
func TestIDsAreCompletedQuietly(t *testing.T) {
	f := &fake{respond: func(w http.ResponseWriter, r *http.Request) {
		sends(w, 200, `[{"id":"acme","name":"backend"},{"id":"globex","name":"front"},{"id":"a\nb","name":"x"},`+
			`{"id":"-f","name":"--server=https://evil.example"}]`)
	}}
	for line, want := range map[string]string{
		"tenant show|a":                           "acme\n:4\n",
		"tenant delete|":                          "acme\nglobex\n:4\n",
		"tenant show|acme|":                       ":4\n",
		"application show|--tenant=acme|g":        "globex\n:4\n",
		"application show|":                       ":4\n", // without a tenant
		"apikey rotate|b":                         "backend\n:4\n",
		"apikey rotate|":                          "backend\nfront\nx\n:4\n", // and no name that is a flag
		"token list|--tenant|gl":                  "globex\n:4\n",
		"token revoke|--tenant=t|--application|a": "acme\n:4\n",
	} {
		args := strings.Split(line, "|")
		args = append(append([]string{"__complete"}, strings.Fields(args[0])...), args[1:]...)
		if got := administer(t, f, "", args...); got.err != nil || got.stdout != want {
			t.Errorf("%q: %q, %v, want %q", args, got.stdout, got.err, want)
		}
		failing := &fake{respond: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }}
		if got := administer(t, failing, "", args...); got.err != nil || got.stdout != ":4\n" ||
			strings.Contains(got.stderr, "refused") {
			t.Errorf("%q, of a service that refuses: %+v", args, got)
		}
	}
}

// The ids of keys are completed, for the one argument that each command of a key takes.
func TestIDsOfKeysAreCompleted(t *testing.T) {
	f := &fake{respond: func(w http.ResponseWriter, _ *http.Request) {
		sends(w, 200, `[{"id":"token-1","kind":"token"},{"id":"k1","kind":"signing"}]`)
	}}
	for _, verb := range []string{"show", "update", "retire", "revoke"} {
		if got := administer(t, f, "", "__complete", "key", verb, ""); got.stdout != "token-1\nk1\n:4\n" {
			t.Errorf("key %s: %q", verb, got.stdout)
		}
		if got := administer(t, f, "", "__complete", "key", verb, "k1", ""); got.stdout != ":4\n" {
			t.Errorf("key %s k1: %q", verb, got.stdout)
		}
	}
}

// A dry run of an end says what would happen, and what a refusal would say.
func TestADryRunSaysWhetherAKeyMayBeRetired(t *testing.T) {
	in := time.Now().Add(time.Hour).Truncate(time.Millisecond)
	for row, want := range map[string]string{
		`"state":"standby","timeline":[{"instant":1,"what":"made"}]`:        "It would retire the key k (dry run",
		`"state":"published","timeline":[{"instant":1,"what":"retirable"}]`: "It would retire the key k (dry run",
		fmt.Sprintf(`"state":"published","timeline":[{"instant":%d,"what":"retirable"}]`, in.UnixMilli()): "The key k may " +
			"be retired from " + in.UTC().Format(time.RFC3339) + " on",
		`"state":"signing","timeline":[]`:  "The key k signs, and cannot be retired: rotate",
		`"state":"active","timeline":[]`:   "The key k is in use, and cannot be retired: rotate",
		`"state":"accepted","timeline":[]`: "if nothing that it made is in use",
		`"state":"revoked","timeline":[]`:  "The key k is revoked already",
	} {
		f := &fake{respond: func(w http.ResponseWriter, _ *http.Request) { sends(w, 200, `{"id":"k",`+row+`}`) }}
		got := administer(t, f, "", "key", "retire", "k", "--dry-run")
		if got.err != nil || !strings.Contains(got.stderr, want) || !cmp.Equal(f.requests, []string{"GET /key/k"}) {
			t.Errorf("%s: %v, %q, sent %q; want %q", row, got.err, got.stderr, f.requests, want)
		}
		got = administer(t, f, "", "key", "revoke", "k", "--dry-run", "--new-key")
		if got.err != nil || !strings.Contains(got.stderr, "This ends the key k") ||
			!strings.Contains(got.stderr, "refuse all access tokens") {
			t.Errorf("%s: %v, %q", row, got.err, got.stderr)
		}
	}
}

// No key is revoked without a confirmation, which a program cannot give by its input.
func TestTheEndOfAKeyIsConfirmed(t *testing.T) {
	f := &fake{respond: func(w http.ResponseWriter, _ *http.Request) { sends(w, 200, `{"id":"k","state":"signing"}`) }}
	got := administer(t, f, "k\n", "key", "revoke", "k")
	if got.status != cli.StatusUsage || len(f.requests) > 0 || !strings.Contains(got.err.Error(), "--yes") {
		t.Errorf("without --yes: %v, status %d, sent %q", got.err, got.status, f.requests)
	}
	got = administer(t, f, "", "key", "revoke", "k", "--yes", "--new-key")
	if got.err != nil || !strings.Contains(got.stderr, "verifiers that do not read the keys again") {
		t.Errorf("with --yes: %v, %q", got.err, got.stderr)
	}
}

// A change of the master key that takes several requests is one command, which reports all of it. One that makes no
// progress ends.
func TestAResealIsSentUntilItIsComplete(t *testing.T) {
	steps := []string{`{"keys":40,"complete":false}`, `{"keys":0,"complete":false}`, `{"keys":2,"complete":true}`}
	f := &fake{respond: func(w http.ResponseWriter, _ *http.Request) {
		sends(w, 200, steps[0])
		steps = steps[1:]
	}}
	got := administer(t, f, "", "key", "reseal")
	if got.err != nil || got.stdout != "sealed 42 keys; the master key is in force\n" || len(f.requests) != 3 ||
		!strings.Contains(got.stderr, "sealed 40 keys") {
		t.Errorf("%+v, sent %q", got, f.requests)
	}
	idle := &fake{respond: func(w http.ResponseWriter, _ *http.Request) { sends(w, 200, `{"keys":0,"complete":false}`) }}
	if got := administer(t, idle, "", "key", "reseal"); got.status != cli.StatusFailed || len(idle.requests) != 3 ||
		!strings.Contains(got.err.Error(), "try again") {
		t.Errorf("without progress: %+v, sent %q", got, idle.requests)
	}
}

// A service that is named by mistake, or that somebody else runs, cannot act on the terminal, in any format.
func TestNoResponseActsOnATerminal(t *testing.T) {
	const hostile = "\u009b31m\u202e\u007f\U000e0041\u2028"
	one := `{"id":"\u001b[31m","name":"` + hostile + `","tenantId":"\u001b]0;x\u0007","key":"ak_\u001b[31m"}`
	for _, args := range []string{
		"apikey list", "apikey list -o json", "apikey create --set name=a", "apikey create --set name=a -o json",
		"apikey create --set name=a --key-file KEY", "apikey show 01981e2c-9a38-7b4d-8a8e-d5a2f1a4c0de",
		"apikey show 01981e2c-9a38-7b4d-8a8e-d5a2f1a4c0de -o json", "apikey rotate 01981e2c-9a38-7b4d-8a8e-d5a2f1a4c0de",
		"tenant list -o json", "audit", "audit -o json", "token list --tenant a", "token list --tenant a -o json",
		"apikey list -o yaml", "apikey show 01981e2c-9a38-7b4d-8a8e-d5a2f1a4c0de -o yaml",
	} {
		service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("ETag", "\"\u009b31m\"")
			data := one
			if r.Method == http.MethodGet && strings.Count(strings.TrimPrefix(r.URL.Path, "/jwt"), "/") == 1 {
				data = "[" + one + "]"
			}
			sends(w, http.StatusOK, data)
		}))
		args = strings.ReplaceAll(args, "KEY", filepath.Join(t.TempDir(), "key"))
		got := administerAt(t, service.URL, "", strings.Fields(args)...)
		service.Close()
		if got.err != nil {
			t.Errorf("%s: %v", args, got.err)
		}
		for _, r := range got.stdout + got.stderr {
			inYAML := strings.Contains(args, "yaml") && (r == '\u202e' || r == '\u2028') // content
			if r != '\n' && r != '\t' && r <= 0xffff && !unicode.IsPrint(r) && !inYAML {
				t.Errorf("%s printed %+q:\n%s", args, r, got.stdout+got.stderr)
			}
		}
	}
}

// A text that is escaped for a terminal is unchanged for a program.
func TestJSONHasTheTextOfTheResponse(t *testing.T) {
	const name = "é \u009b\u202e\u007f\U000e0041\U0001f600 \\u0041 \"\t"
	text, err := json.Marshal(map[string]string{"id": "a", "name": name})
	if err != nil {
		t.Fatal(err)
	}
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		sends(w, http.StatusOK, string(text))
	}))
	defer service.Close()
	got := administerAt(t, service.URL, "", "tenant", "show", "a", "-o", "json")
	var shown struct{ Name string }
	if err := json.Unmarshal([]byte(got.stdout), &shown); err != nil || shown.Name != name {
		t.Errorf("show printed %s (%v, %v), want the name %+q", got.stdout, err, got.err, name)
	}
}

// A proxy or a service that redirects does not get the API key sent to another host.
func TestARedirectGetsNoAPIKey(t *testing.T) {
	other := &fake{respond: func(w http.ResponseWriter, _ *http.Request) { sends(w, http.StatusOK, "[]") }}
	elsewhere := httptest.NewServer(other)
	defer elsewhere.Close()
	for _, status := range []int{301, 302, 303, 307, 308} {
		f := &fake{respond: func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL+r.URL.Path, status)
		}}
		if got := administer(t, f, "", "tenant", "list"); got.status != cli.StatusFailed {
			t.Errorf("%d: %+v, want a failure", status, got)
		}
	}
	if len(other.requests) > 0 {
		t.Errorf("the other host got %q", other.requests)
	}
}
