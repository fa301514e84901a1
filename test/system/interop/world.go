package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/refreshd/refreshd/test/support/postgres"
	"github.com/refreshd/refreshd/test/support/rig"
)

const (
	onSQLite   = "SQLite"
	onPostgres = "PostgreSQL"
)

var engines = []string{onSQLite, onPostgres}

// tenants sign with one algorithm each.
var tenants = []struct{ id, algorithm string }{{"ed", edDSA}, {"es", es256}, {"rs", rs256}, {"ps", ps256}}

// The applications of each tenant.
const (
	publicApp  = "spa"       // a public client
	secretApp  = "web"       // a client with a secret
	keyApp     = "keyed"     // a client with a key
	expiredApp = "brief"     // its access tokens are valid for a second
	springApp  = "spring"    // its access tokens have the typ JWT
	otherApp   = "elsewhere" // a public client whose origins are other ones
)

// world is a service, and what the scripts know of it. Its JSON is the file that the variable WORLD names.
type world struct {
	URL       string            `json:"url"`       // of the service
	NonceURL  string            `json:"nonceUrl"`  // of another service, which demands a nonce in each proof
	APIKey    string            `json:"apiKey"`    // may do everything
	Secret    string            `json:"secret"`    // of the application web
	Key       map[string]string `json:"key"`       // of the application keyed, a private JWK
	ByKey     bool              `json:"byKey"`     // whether the metadata offers private_key_jwt
	Expired   string            `json:"expired"`   // an access token of the tenant es
	Rotations map[string]string `json:"rotations"` // a tenant for each client, whose key the client may have revoked
	Page      string            `json:"page"`      // the origin of the page in the browser

	r        *run
	engine   string
	tested   map[string]string // how the tests of test/e2e ended, by name; nil before they ran
	file     string
	services []*rig.Service
	server   *postgres.Server
}

// newWorld starts two services on an engine.
func newWorld(ctx context.Context, r *run, engine string) (w *world, err error) {
	w = &world{
		r: r, engine: engine, Rotations: map[string]string{}, APIKey: "ak_" + rand.Text() + rand.Text(),
		Secret: rand.Text() + rand.Text(),
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.stop())
		}
	}()
	addresses, err := rig.FreeAddresses(3)
	if err != nil {
		return w, err
	}
	w.URL, w.Page, w.NonceURL = "http://"+addresses[0], "http://"+addresses[1], "http://"+addresses[2]
	dir, err := os.MkdirTemp(r.dir, engine+"-")
	if err != nil {
		return w, err
	}
	w.file = filepath.Join(dir, "world.json")
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return w, err
	}
	public, err := w.keyPair(private)
	if err != nil {
		return w, err
	}
	if engine == onPostgres {
		if w.server, err = postgres.StartServer(ctx, postgres.Options{}); err != nil {
			return w, err
		}
	}
	kickstart := w.kickstart(public)
	for _, url := range []string{w.URL, w.NonceURL} {
		if err := w.serve(ctx, dir, url, kickstart, fmt.Sprint(url == w.NonceURL)); err != nil {
			return w, err
		}
	}
	return w, w.describe(ctx)
}

// serve starts a service with a database of its own. nonce is whether it demands a nonce.
func (w *world) serve(ctx context.Context, dir, url, kickstart, nonce string) (err error) {
	settings := rig.Settings{
		Listen: strings.TrimPrefix(url, "http://"), Kickstart: kickstart,
		Database: "sqlite:" + filepath.Join(dir, "nonce-"+nonce, "refreshd.db"),
		Env:      []string{"REFRESHD_PUBLIC_URL=" + url, "REFRESHD_DPOP_NONCE=" + nonce},
	}
	if w.server != nil {
		if settings.Database, err = w.server.NewDatabase(ctx); err != nil {
			return err
		}
		if _, err := w.r.program.Run(ctx, settings, "migrate"); err != nil {
			return err
		}
	}
	service, err := w.r.program.Serve(ctx, settings)
	if err == nil {
		w.services = append(w.services, service)
	}
	return err
}

// keyPair sets the private key that scripts use, and returns the public one.
func (w *world) keyPair(private *ecdsa.PrivateKey) (public string, err error) {
	secret, err := private.Bytes()
	if err != nil {
		return "", err
	}
	point, err := private.PublicKey.Bytes()
	if err != nil {
		return "", err
	}
	encode := base64.RawURLEncoding.EncodeToString
	key := map[string]string{
		"kty": "EC", "crv": "P-256", "kid": "interop", "alg": es256, "x": encode(point[1:33]), "y": encode(point[33:]),
	}
	text, err := json.Marshal(map[string]any{"keys": []any{key}})
	key["d"] = encode(secret)
	w.Key = key
	return string(text), err
}

// kickstart returns the tenants, with six applications each, and the API key.
func (w *world) kickstart(public string) string {
	var b strings.Builder
	b.WriteString("tenants:\n")
	tenant := func(id, algorithm string) {
		fmt.Fprintf(&b, "  - id: %s\n    jwtConfiguration: {algorithm: %s}\n    applications:\n", id, algorithm)
		fmt.Fprintf(&b, "      - {id: %s, origins: [%q], audiences: [https://orders.example]}\n", publicApp, w.Page)
		fmt.Fprintf(&b, "      - {id: %s, clientSecrets: [{secret: %q}]}\n", secretApp, w.Secret)
		fmt.Fprintf(&b, "      - {id: %s, clientKeys: %s}\n", keyApp, public)
		fmt.Fprintf(&b, "      - {id: %s, jwtConfiguration: {timeToLiveInSeconds: 1}}\n", expiredApp)
		fmt.Fprintf(&b, "      - {id: %s, jwtConfiguration: {accessTokenType: JWT}}\n", springApp)
		fmt.Fprintf(&b, "      - {id: %s, origins: [https://elsewhere.example]}\n", otherApp)
	}
	for _, t := range tenants {
		tenant(t.id, t.algorithm)
	}
	for i, c := range clients {
		w.Rotations[c.name] = fmt.Sprintf("rotation-%d", i)
		tenant(w.Rotations[c.name], es256)
	}
	fmt.Fprintf(&b, "apiKeys:\n  - name: interop\n    key: %s\n", w.APIKey)
	b.WriteString("    permissions: {endpoints: {\"*\": [\"*\"], /key: [POST]}}\n")
	return b.String()
}

// describe writes what the scripts have to know into a file.
func (w *world) describe(ctx context.Context) error {
	text, err := get(ctx, w.URL+"/t/es/.well-known/openid-configuration")
	if err != nil {
		return err
	}
	w.ByKey = strings.Contains(string(text), `"private_key_jwt"`)
	session, err := w.issue(ctx, w.URL, "es", expiredApp)
	if err != nil {
		return err
	}
	w.Expired = session.Token
	var claims struct {
		Expires int64 `json:"exp"`
	}
	if err := rig.ReadClaims(w.Expired, &claims); err != nil {
		return err
	}
	time.Sleep(time.Until(time.Unix(claims.Expires+1, 0))) // until the access token has expired, a second or two
	if text, err = json.Marshal(w); err != nil {
		return err
	}
	return os.WriteFile(w.file, text, 0o600)
}

type issued struct{ RefreshToken, Token string }

// issue issues a session at one of the services.
func (w *world) issue(ctx context.Context, at, tenant, application string) (session issued, err error) {
	body, err := json.Marshal(map[string]any{
		"userId": "ada", "applicationsId": application, "scopes": []string{"orders:read", "orders:write"},
	})
	if err != nil {
		return session, err
	}
	request := rig.Request{Method: "POST", Path: "/jwt/issue", Key: w.APIKey, Tenant: tenant, Body: string(body)}
	response, err := request.Do(ctx, rig.Client, strings.TrimPrefix(at, "http://"))
	if err != nil {
		return session, err
	}
	return session, response.Data(&session)
}

func (w *world) stop() error {
	var errs []error
	for _, service := range w.services {
		errs = append(errs, service.Stop())
		if lines := service.ErrorsLogged(); len(lines) > 0 {
			errs = append(errs, fmt.Errorf("the service logged an error: %s", lines[0]))
		}
	}
	if w.server != nil {
		errs = append(errs, w.server.Stop())
	}
	return errors.Join(errs...)
}
