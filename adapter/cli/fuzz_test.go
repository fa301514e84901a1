package cli_test

import (
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"github.com/refreshd/refreshd/adapter/cli"
	"github.com/refreshd/refreshd/adapter/jwxsigner"
	"github.com/refreshd/refreshd/adapter/memstore"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/usecase"
	"github.com/refreshd/refreshd/usecase/admin"
)

// Whatever somebody feeds it, every refusal names the file on every line, holds nothing that a terminal would obey,
// shows no variable's value, and is the same when it is read twice.
func FuzzReadKickstart(f *testing.F) {
	f.Add("tenants:\n- id: a\n  jwtConfiguration: {algorithm: EdDSA}\napiKeys:\n- key: ${KEY}\n  permissions: " +
		"{endpoints: {/a: [GET]}}\n")
	f.Add("a: &a [*a, <<: !!x ${KEY}]\n--- |\n $$\n...\n")
	f.Add("? {[}: \"\\xff\n- ~\r\n%YAML 9\n")
	f.Add("tenants: {<<: *b, 1: 0x1, ${KEY}: 2030-01-31T00:00:00Z}")
	f.Add("\"\\e[2J\\u202e\": 1\ntenants:\n- \"\\e]0;x\\a\": 1\n")
	f.Add("*\u202ea\n")
	const secret = "ak_NEVER-TO-BE-SHOWN-0123456789"
	env := variables(map[string]string{"KEY": secret})
	f.Fuzz(func(t *testing.T, text string) {
		d, err := cli.ReadKickstart(file, []byte(text), env)
		again, errAgain := cli.ReadKickstart(file, []byte(text), env)
		if diff := cmp.Diff(d.Kickstart, again.Kickstart); diff != "" || fmt.Sprint(err) != fmt.Sprint(errAgain) {
			t.Errorf("read twice: %v, %v\n%s", err, errAgain, diff)
		}
		if err == nil {
			return
		}
		mustBeShowable(t, err)
		if strings.Contains(err.Error(), secret) && !strings.Contains(text, secret) {
			t.Errorf("a variable's value shows: %v", err)
		}
	})
}

// mustBeShowable checks that each line of an error names the file and nothing in it does anything to a terminal.
func mustBeShowable(t *testing.T, err error) {
	t.Helper()
	for line := range strings.SplitSeq(err.Error(), "\n") {
		if !strings.HasPrefix(line, file+":") {
			t.Errorf("a problem without the file's name: %q", line)
		}
		if strings.ContainsFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("a line that a terminal would obey: %q", line)
		}
	}
}

// A file that is taken changes nothing when it is applied again, and one that is refused by the rules is refused with
// a line and a field, before anything is written.
func FuzzApplyKickstart(f *testing.F) {
	const begin = "tenants:\n- id: acme\n  name: Acme\n  applications:\n  - {id: shop, name: Shop"
	f.Add(begin +
		"}\napiKeys:\n- {name: k, key: ak_0123456789abcdef01234567, tenantId: acme, permissions: {endpoints: " +
		"{/jwt/issue: [POST]}}}\n")
	f.Add(begin +
		", active: false, jwtConfiguration: {algorithm: ES256, timeToLiveInSeconds: 60, " +
		"refreshTokenOneTimeUseConfiguration: {gracePeriodInSeconds: 40}}}\n")
	f.Add(begin + "}\n  - {id: shop, name: Again}\n- {id: acme, name: Again}\n")
	f.Add(begin +
		"}\napiKeys:\n- {name: \"\u202e\", key: ak_0123456789abcdef01234567, permissions: {endpoints: {\"/x\\e[2J\": " +
		"[GET], \"*\": [\"*\"]}}, expiresAt: 2030-01-31T12:00:00.123456789+01:00}\n")
	f.Add("tenants: [{id: \"..\"}, {id: a b, issuer: \"http://x/?\"}]\n")
	f.Add("tenants: [{id: a, cookieDomain: \"x; Secure\", cookieOnly: true}]\napiKeys: [{name: a, key: short}, {name: " +
		"a, key: short}]\n")
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		d, err := cli.ReadKickstart(file, []byte(text), variables(nil))
		if err != nil || strings.Contains(text, "S256") && len(text) > 400 { // making RSA keys is slow
			return
		}
		store := memstore.New()
		master, _, err := domain.NewMasterKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		keys, err := usecase.OpenKeys(t.Context(), usecase.KeysConfig{
			Store: store, Signer: jwxsigner.New(rand.Reader), Master: master, Clock: time.Now, Random: rand.Reader,
		})
		if err != nil {
			t.Fatal(err)
		}
		apply := &admin.Apply{
			Tenants: store, Applications: store, APIKeys: store, Keys: keys, Clock: time.Now, Random: rand.Reader,
		}
		would, dryErr := apply.DryRun(t.Context(), d.Kickstart)
		applied, err := apply.Do(t.Context(), d.Kickstart)
		if fmt.Sprint(would, dryErr) != fmt.Sprint(applied, err) {
			t.Errorf("a dry run says %v, %v, and then it was %v, %v", would, dryErr, applied, err)
		}
		if err != nil {
			if invalid := (*domain.Invalid)(nil); !errors.As(err, &invalid) || len(applied) > 0 {
				t.Fatalf("got %v, and %v was applied", err, applied)
			}
			mustBeShowable(t, d.Explain(err))
			if found, _, err := store.Tenants(t.Context(), "", 10); len(found) > 0 || err != nil {
				t.Fatalf("refused, and %v is stored (%v)", found, err)
			}
			return
		}
		var out strings.Builder
		cli.PrintApplied(&out, applied, false)
		for line := range strings.SplitSeq(strings.TrimSuffix(out.String(), "\n"), "\n") {
			if strings.ContainsFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }) {
				t.Errorf("a line that a terminal would obey: %q", line)
			}
		}
		again, err := apply.Do(t.Context(), d.Kickstart)
		if err != nil || len(again) != len(applied) {
			t.Fatalf("applied again: %v, %v", again, err)
		}
		for _, a := range again {
			if a.Action != "unchanged" {
				t.Errorf("applied again, %s %q is %s", a.Kind, a.Name, a.Action)
			}
		}
	})
}
