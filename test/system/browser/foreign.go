package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	"github.com/google/go-cmp/cmp"
)

// attacks are requests that a page of another origin can make a browser send. Each is the body of an asynchronous
// function.
var attacks = []struct {
	about, script string
	navigates     bool // whether the page itself navigates to the response
}{
	{"POST by fetch", `await fetch(url, {method: 'POST', credentials: 'include'}).catch(() => {});`, false},
	{"POST by fetch, no-cors", `await fetch(url, {method: 'POST', mode: 'no-cors', credentials: 'include'});`, false},
	{"POST of JSON as text by fetch", `await fetch(url, {method: 'POST', mode: 'no-cors', credentials: 'include',
		headers: {'Content-Type': 'text/plain'}, body: '{"cookieName":"refresh_token"}'});`, false},
	{"POST by beacon", `navigator.sendBeacon(url, new URLSearchParams({cookieName: 'refresh_token'}));
		await new Promise(done => { const i = new Image(); i.onload = i.onerror = done; i.src = url + '?beacon'; });`, false},
	{"DELETE by fetch", `await fetch(url, {method: 'DELETE', credentials: 'include'}).catch(() => {});`, false},
	{"DELETE by fetch, tenant named", `await fetch(url, {method: 'DELETE', credentials: 'include',
		headers: {'X-Stencil-TenantId': 'acme'}}).catch(() => {});`, false},
	{"DELETE by fetch, no-cors", `await fetch(url, {method: 'DELETE', mode: 'no-cors', credentials: 'include'})
		.catch(() => {});`, false},
	{"DELETE by a header that overrides the method", `await fetch(url, {method: 'POST', credentials: 'include',
		headers: {'X-HTTP-Method-Override': 'DELETE', 'X-Stencil-TenantId': 'acme'}}).catch(() => {});`, false},
	{"GET of an image", `await new Promise(done => { const i = new Image(); i.onload = i.onerror = done;
		i.src = url + '?userId=ada'; });`, false},
	{"POST of a form into a frame", `const f = document.createElement('iframe'); f.name = 'sink'; document.body.append(f);
		await new Promise(done => { f.onload = done; submit('POST', {}, 'sink'); });`, false},
	{"POST by fetch from a sandboxed frame", sandboxed, false},
	{"POST of a form, the page goes there", `submit('POST', {});`, true},
	{"POST of a form that names the cookie", `submit('POST', {cookieName: 'refresh_token'});`, true},
	{"POST of a form that asks for a DELETE", `submit('POST', {_method: 'DELETE'});`, true},
	{"POST of a form that revokes", `submit('POST', {tokenId: '` + sessionMark + `'});`, true},
	{"GET of a form", `submit('GET', {userId: 'ada'});`, true},
}

const sandboxed = `const f = document.createElement('iframe'); f.sandbox = 'allow-scripts';
	f.srcdoc = '<script>fetch("' + url + '", {method: "POST", credentials: "include", mode: "no-cors"})' +
		'.finally(() => parent.postMessage("sent", "*"))</' + 'script>';
	await new Promise(done => { addEventListener('message', done); document.body.append(f); });`

// sessionMark stands for the victim's session in a script.
const sessionMark = "SESSION"

const attackLibrary = `
const url = 'https://` + authHost + `/jwt/refresh';
function submit(method, fields, target) {
  const f = document.createElement('form');
  f.method = method; f.action = url; f.target = target || '';
  for (const name in fields) {
    const i = document.createElement('input');
    i.name = name; i.value = fields[name].replace('` + sessionMark + `', given);
    f.append(i);
  }
  document.body.append(f);
  f.submit();
}
`

// foreignPart sends what foreign pages can send: the session and the jar do not change.
func foreignPart(ctx context.Context, h *harness) error {
	for _, origin := range []struct{ about, host string }{
		{"another site", foreignHost}, {"a neighbour", neighbourHost}, {"a neighbour below the cookies' domain", otherHost},
	} {
		if err := strangers(ctx, h, origin.about, origin.host); err != nil {
			return fmt.Errorf("%s: %w", origin.about, err)
		}
	}
	return nil
}

// victim is a user with a session in the browser.
type victim struct {
	*harness
	profile *profile
	page    *page // of the user
	id      string
}

// newVictim logs ada in and exchanges.
func newVictim(ctx context.Context, h *harness, p *profile) (*victim, error) {
	own, err := p.open(ctx, "https://"+wwwHost+"/test/page")
	if err != nil {
		return nil, err
	}
	if err := own.login(ctx, "shop", "ada"); err != nil {
		return nil, err
	}
	a, err := own.exchange(ctx, nil)
	if err != nil {
		return nil, err
	}
	if !a.ok() {
		return nil, fmt.Errorf("the victim's own exchange: %s", a)
	}
	return &victim{h, p, own, a.Data.RefreshTokenID}, nil
}

// victimState is the state that no attack may change.
type victimState struct {
	Generation int
	Jar        []cookie
}

func (v *victim) state(ctx context.Context) (s victimState, err error) {
	if s.Generation, err = v.world.generation(ctx, tenant, v.id); err != nil {
		return s, err
	}
	s.Jar, err = v.profile.cookies(ctx)
	slices.SortFunc(s.Jar, func(a, b cookie) int {
		return slices.Compare([]string{a.Name, a.Domain}, []string{b.Name, b.Domain})
	})
	return s, err
}

// suffer runs an attack in the page t, and returns the requests that reached the service.
func (v *victim) suffer(ctx context.Context, t *page, script string, navigates bool) ([]request, error) {
	v.world.forget()
	loaded := v.browser.await(t.session, "Page.loadEventFired")
	if err := t.eval(ctx, attackLibrary+script, v.id, nil); err != nil {
		return nil, err
	}
	if navigates {
		if err := loaded(ctx); err != nil {
			return nil, err
		}
	}
	return v.world.requests(), nil
}

func strangers(ctx context.Context, h *harness, about, host string) error {
	p, err := h.browser.newProfile(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = p.close(context.WithoutCancel(ctx)) }()
	v, err := newVictim(ctx, h, p)
	if err != nil {
		return err
	}
	before, err := v.state(ctx)
	if err != nil {
		return err
	}
	t, err := p.open(ctx, "https://"+host+"/test/page")
	if err != nil {
		return err
	}
	sent, carried, wrong := 0, 0, 0
	for _, attack := range attacks {
		if err := t.navigate(ctx, "https://"+host+"/test/page"); err != nil {
			return err
		}
		seen, err := v.suffer(ctx, t, attack.script, attack.navigates)
		if err != nil {
			return fmt.Errorf("%s: %w", attack.about, err)
		}
		for _, r := range seen {
			sent++
			if r.cookies && r.method != http.MethodGet {
				carried++
			}
			if r.status == 200 && r.method != "OPTIONS" {
				h.fail("%s, %s: %s was answered %d", about, attack.about, r.method, r.status)
			}
		}
		after, err := v.state(ctx)
		if err != nil {
			return err
		}
		if diff := cmp.Diff(before, after); diff != "" {
			wrong++
			h.fail("%s, %s: the session and the jar (-before +after):\n%s", about, attack.about, diff)
			before = after
		}
	}
	// Requests of another site carry no cookie (SameSite=Lax), except where the page navigates by GET. Those of a
	// neighbour do: only the service's own rule protects against them.
	h.check(wrong == 0 && sent > len(attacks)/2 && (host == foreignHost) == (carried == 0),
		"%s (%s): %d attacks, %d requests reached the service, %d of them not GET and with the victim's cookies; "+
			"%d changed something",
		about, host, len(attacks), sent, carried, wrong)
	end, err := v.page.exchange(ctx, nil)
	if err != nil {
		return err
	}
	if !end.ok() || end.Data.RefreshTokenID != v.id {
		h.fail("%s: the victim's exchange afterwards: %s", about, end)
	}
	return nil
}
