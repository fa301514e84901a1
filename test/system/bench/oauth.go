package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"net/url"
	"time"

	"github.com/refreshd/refreshd/test/support/dpop"
	"github.com/refreshd/refreshd/test/support/figures"
	"github.com/refreshd/refreshd/test/support/rig"
)

const (
	confidential = "confidential" // an application with a secret
	asserting    = "asserting"    // an application with a key
	clientSecret = "benchmarkbenchmarkbenchmarkbenchmark"

	oauthUsers = 32
)

// oauthKinds are the ways to exchange that oauthPart compares, first that of the JSON API without any proof.
var oauthKinds = []oauthKind{
	{name: "JSON", application: application, build: jsonRequest, json: true},
	{name: "OAuth, public client", application: application, build: tokenRequest},
	{name: "OAuth, client_secret_basic", application: confidential, build: tokenRequest},
	{name: "OAuth, private_key_jwt", application: asserting, build: tokenRequest},
	{name: "JSON, DPoP", application: application, build: jsonRequest, json: true, bound: true},
	{name: "OAuth, public client, DPoP", application: application, build: tokenRequest, bound: true},
}

type oauthKind struct {
	name, application string
	json, bound       bool // whether it uses the JSON API; whether the session is bound to a key
	build             func(u *oauthUser) []byte
}

// oauthUser is a client that builds each of its requests: a proof or an assertion serves once.
type oauthUser struct {
	line
	kind    oauthKind
	key     *dpop.Key // of its proofs; nil for none
	client  dpop.Key  // of its assertions
	current string
	issuer  string
}

// proofHeader returns the header of a proof for the path; empty if the user has no key.
func (u *oauthUser) proofHeader(path string) string {
	if u.key == nil {
		return ""
	}
	proof, err := u.key.Prove("POST", rig.PublicURL+path, time.Now())
	if err != nil {
		return "" // the request is refused, which ends the benchmark
	}
	return "DPoP: " + proof + "\r\n"
}

func (u *oauthUser) request(path, mediaType, header, body string) []byte {
	return fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: %s\r\n%s%sContent-Length: %d\r\n\r\n%s",
		path, u.address, mediaType, header, u.proofHeader(path), len(body), body)
}

func jsonRequest(u *oauthUser) []byte {
	return u.request("/jwt/refresh", "application/json", "", `{"refreshToken":"`+u.current+`"}`)
}

func tokenRequest(u *oauthUser) []byte {
	const path = "/t/" + tenant + "/oauth2/token"
	header, body := "", "grant_type=refresh_token&refresh_token="+u.current
	switch u.kind.application {
	case confidential:
		pair := base64.StdEncoding.EncodeToString([]byte(confidential + ":" + clientSecret))
		header = "Authorization: Basic " + pair + "\r\n"
	case asserting:
		assertion, err := u.client.Assert(asserting, u.issuer, time.Now())
		if err == nil {
			body += "&" + url.Values{
				"client_assertion":      {assertion},
				"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
			}.Encode()
		}
	default:
		body += "&client_id=" + u.kind.application
	}
	return u.request(path, "application/x-www-form-urlencoded", header, body)
}

// exchange exchanges the current string, and keeps the next one.
func (u *oauthUser) exchange() error {
	status, err := u.call(u.kind.build(u))
	if err != nil {
		return err
	}
	next, access := `"refresh_token":"`, `"access_token":"`
	if u.kind.json {
		next, access = `"refreshToken":"`, `"token":"`
	}
	got := string(member(u.body, next))
	if status != 200 || string(u.outcome) != rotated || len(got) != tokenStringLength || got == u.current ||
		bytes.Count(member(u.body, access), []byte(".")) != 2 {
		return fmt.Errorf("%s: got status %d, outcome %q, want 200, %s, an access token and a new string: %s", u.kind.name,
			status, u.outcome, rotated, u.body)
	}
	u.current = got
	return nil
}

// oauthPart compares the token endpoint with the JSON API, and what proofs cost. The clients take turns at one service.
// A client that signs shares the machine, so the processor time of the service counts, not the rate.
func oauthPart(ctx context.Context, b *bench) error {
	b.report.section("OAuth and proofs, PostgreSQL")
	client, err := dpop.Generate()
	if err != nil {
		return err
	}
	keys, err := client.JWKS()
	if err != nil {
		return err
	}
	how := b.setup(asItComes, noGrace)
	how.applications = ", {id: " + confidential + ", clientSecrets: [{secret: '${BENCH_CLIENT_SECRET}'}]}, {id: " +
		asserting + ", clientKeys: " + keys + "}"
	how.environ = []string{"BENCH_CLIENT_SECRET=" + clientSecret}
	dsn, err := b.newDatabase(ctx, how)
	if err != nil {
		return err
	}
	s, err := how.serve(ctx, dsn)
	if err != nil {
		return err
	}
	b.later(s.Stop)
	var variants []variant
	for _, kind := range oauthKinds {
		users, err := newOAuthUsers(ctx, s, kind, client)
		if err != nil {
			return err
		}
		variants = append(variants, variant{name: kind.name, run: func(n int) (run, error) {
			disconnect, err := connect(ctx, users[:n], b.plan.window.warm+b.plan.window.length)
			defer disconnect()
			if err != nil {
				return run{}, err
			}
			m := meter{driver: rig.OwnCPU, service: s, server: b.server}
			r, err := closedLoop(ctx, b.plan.window, m, n, func(i int) error { return users[i].exchange() })
			if err != nil {
				return run{}, s.Explain(err)
			}
			return r, s.Forget()
		}})
	}
	one := variants[0].name
	results, err := b.turns("OAuth", b.plan.rounds, variants, oauthUsers)
	if err != nil {
		return err
	}
	b.report.say("Each of %d users exchanges one session in a loop, without a grace period:", oauthUsers)
	b.report.table(results.table(variants, one, oauthUsers))
	t := figures.NewTable("more than "+one, "CPU µs of the service", "objects")
	for _, v := range variants[1:] {
		more := func(value func(run) float64) string {
			return figures.Format(results.of(v.name, oauthUsers, value)-results.of(one, oauthUsers, value), "%.0f")
		}
		t.Add(v.name, more(serviceCPU), more(objects))
	}
	b.report.table(t)
	b.report.figure("oauth", results.ratio(oauthKinds[1].name, one, oauthUsers, perSecond))
	return nil
}

func newOAuthUsers(ctx context.Context, s *service, kind oauthKind, client dpop.Key) (users []*oauthUser, err error) {
	for i := range oauthUsers {
		u := &oauthUser{line: line{address: s.API}, kind: kind, client: client, issuer: rig.PublicURL + "/t/" + tenant}
		binding := ""
		if kind.bound {
			key, err := dpop.Generate()
			if err != nil {
				return nil, err
			}
			jkt, err := key.JKT()
			if err != nil {
				return nil, err
			}
			u.key, binding = &key, fmt.Sprintf(`, "dpopJkt": %q`, jkt)
		}
		g, err := s.issue(ctx, fmt.Sprintf(`{"applicationsId": %q, "userId": "user-%d"%s}`, kind.application, i, binding))
		if err != nil {
			return nil, err
		}
		u.current = string(g.tokenString)
		users = append(users, u)
	}
	return users, nil
}
