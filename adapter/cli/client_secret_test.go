package cli_test

import (
	"crypto/sha256"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/refreshd/refreshd/adapter/cli"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/usecase/admin"
)

// A secret that was made is on the output, or in a new file, and nowhere else.
func TestAClientSecretIsWrittenOnce(t *testing.T) {
	secret := strings.Repeat("x1", 21) + "y"
	f := &fake{respond: func(w http.ResponseWriter, _ *http.Request) {
		sends(w, 200, `{"clientSecret":"`+secret+`","id":"shop","clientSecrets":[{"createdInstant":2},{"createdInstant":1}]}`)
	}}
	got := administer(t, f, "", "application", "secret", "shop", "--tenant=t")
	if got.err != nil || got.stdout != secret+"\n" || strings.Contains(got.stderr, secret) ||
		!strings.Contains(got.stderr, "end-previous") {
		t.Errorf("%+v", got)
	}
	path := filepath.Join(t.TempDir(), "secret")
	got = administer(t, f, "", "application", "secret", "shop", "--tenant=t", "--force", "--secret-file", path)
	text, err := os.ReadFile(path)
	if got.err != nil || err != nil || !strings.HasPrefix(string(text), secret) ||
		strings.Contains(got.stdout+got.stderr, secret) {
		t.Errorf("%+v, the file has %q, %v", got, text, err)
	}
	want := []string{"POST /application/shop/secret", `POST /application/shop/secret {"force":true}`}
	if diff := cmp.Diff(want, f.requests); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

// An export has a variable for each client secret, and no hash. With keys it has the hashes, sealed.
func TestAnExportHasNoClientSecret(t *testing.T) {
	at := time.Date(2026, 1, 31, 12, 0, 0, 1000, time.UTC)
	stored := []domain.ClientSecret{
		{Hash: "the hash", HashKey: 2, CreatedAt: at}, {Hash: "another hash", HashKey: 1, CreatedAt: at.Add(-time.Hour)},
	}
	k := admin.Kickstart{Tenants: []admin.KickstartTenant{{
		Tenant: domain.Tenant{ID: "acme"}, Applications: []domain.Application{
			{ID: "blog"}, {ID: "shop", Client: domain.Client{Secrets: stored, Audiences: []string{"api"}}},
		},
	}}}
	text, needed, err := cli.WriteKickstart(k, "")
	if err != nil || strings.Contains(string(text), "hash") {
		t.Fatalf("%v in\n%s", err, text)
	}
	const what = "the client secret of the application shop of the tenant acme"
	wanted := []cli.Variable{{Name: "SHOP_SECRET", Key: what}, {Name: "SHOP_SECRET_2", Key: what}}
	if diff := cmp.Diff(wanted, needed); diff != "" {
		t.Errorf("variables (-want +got):\n%s", diff)
	}
	type reader func(string, []byte, func(string) (string, bool)) (cli.Document, error)
	read := func(env map[string]string, how reader) []string {
		t.Helper()
		d, err := how(file, text, variables(env))
		if err != nil {
			t.Fatal(err)
		}
		kt := d.Kickstart.Tenants[0]
		if _, has := kt.Secrets["blog"]; has {
			t.Error("the blog, which has no list, has client secrets")
		}
		var texts []string
		for _, s := range kt.Secrets["shop"].Texts {
			texts = append(texts, s.Reveal())
		}
		return texts
	}
	env := map[string]string{"SHOP_SECRET": "a-secret-of-24-characters", "SHOP_SECRET_2": "b-secret-of-24-characters"}
	want := []string{env["SHOP_SECRET"], env["SHOP_SECRET_2"]}
	if diff := cmp.Diff(want, read(env, cli.ReadKickstart)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"", ""}, read(nil, cli.ReadKickstartWithoutKeys)); diff != "" {
		t.Errorf("without variables (-want +got):\n%s", diff)
	}
	if _, err := cli.ReadKickstart(file, text, variables(nil)); err == nil {
		t.Error("a variable that is not set is accepted")
	}

	passphrase := domain.NewSecret("correct horse battery staple")
	sealed, err := cli.Seal(k, nil, passphrase, rand.NewChaCha8(sha256.Sum256(nil)))
	if err != nil {
		t.Fatal(err)
	}
	text, needed, err = cli.WriteKickstart(k, sealed)
	if err != nil || len(needed) > 0 {
		t.Fatalf("it needs %v, %v", needed, err)
	}
	d, err := cli.ReadKickstart(file, text, variables(nil))
	if err != nil {
		t.Fatal(err)
	}
	if d, err = d.Unseal(passphrase); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(k.Tenants, d.Kickstart.Tenants); diff != "" {
		t.Errorf("sealed (-want +got):\n%s", diff)
	}
}
