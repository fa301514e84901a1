package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// policiesPart checks how an application's policy changes its cookies, their names and hosts, and the response's body.
func policiesPart(ctx context.Context, h *harness) error {
	for _, c := range []struct {
		about string
		run   func(context.Context, *harness, *profile, *page) error // the page is one of the login service
	}{
		{"cookieOnly", onlyCookies},
		{"sandboxed frames", sandboxedFrames},
		{"cookieHostOnly", hostOnly},
		{"cookieName __Host-refresh", prefixed},
		{"two applications below one domain", sideBySide},
		{"cookieName changed", renamed},
	} {
		p, err := h.browser.newProfile(ctx)
		if err != nil {
			return err
		}
		t, err := p.open(ctx, "https://"+wwwHost+"/test/page")
		if err == nil {
			err = c.run(ctx, h, p, t)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", c.about, err)
		}
		if err := p.close(ctx); err != nil {
			return err
		}
	}
	return nil
}

// onlyCookies: by default no page sees a token string, unless the application sets cookieOnly: false.
func onlyCookies(ctx context.Context, h *harness, p *profile, t *page) error {
	for application, want := range map[string]bool{"shop": false, "body": true} {
		if err := p.clear(ctx); err != nil {
			return err
		}
		if err := t.login(ctx, application, "ada"); err != nil {
			return err
		}
		a, err := t.exchange(ctx, nil)
		if err != nil {
			return err
		}
		h.check(a.ok() && (a.Data.RefreshToken != nil) == want, "cookieOnly %t: %s, a token string in the body: %t",
			!want, a, a.Data.RefreshToken != nil)
		var scripts string
		if err := t.eval(ctx, "return document.cookie;", nil, &scripts); err != nil {
			return err
		}
		if scripts != "" {
			h.fail("cookieOnly %t: scripts read %q", !want, scripts)
		}
	}
	return nil
}

// sandboxedFrames: scripts in a sandboxed frame of an own page may be foreign, and do not count as those of an own
// page.
func sandboxedFrames(ctx context.Context, h *harness, p *profile, t *page) error {
	if err := t.login(ctx, "shop", "ada"); err != nil {
		return err
	}
	for _, host := range []string{authHost, wwwHost} {
		own, err := p.open(ctx, "https://"+host+"/test/page")
		if err != nil {
			return err
		}
		h.world.forget()
		if err := own.eval(ctx, attackLibrary+sandboxed, "", nil); err != nil {
			return err
		}
		seen := h.world.requests()
		if len(seen) != 1 {
			return fmt.Errorf("%d requests, want one", len(seen))
		}
		h.check(seen[0].status == 400 && seen[0].origin == "null",
			"a sandboxed frame in a page of %s: Origin %s, cookies %t: %d",
			host, seen[0].origin, seen[0].cookies, seen[0].status)
	}
	return nil
}

// hostOnly: the cookies stay on the service's host, where the login page is, and a neighbour gets none.
func hostOnly(ctx context.Context, h *harness, p *profile, t *page) error {
	auth, err := p.open(ctx, "https://"+authHost+"/test/page")
	if err != nil {
		return err
	}
	if err := auth.login(ctx, "alone", "ada"); err != nil {
		return err
	}
	jar, err := p.cookies(ctx)
	if err != nil {
		return err
	}
	for _, c := range jar {
		if !c.hostOnly() || c.Domain != authHost || !c.Secure || !c.HTTPOnly {
			h.fail("after a login: %+v", c)
		}
	}
	own, err := auth.exchange(ctx, nil)
	if err != nil {
		return err
	}
	other, err := t.exchange(ctx, nil)
	if err != nil {
		return err
	}
	after, err := p.cookies(ctx)
	if err != nil {
		return err
	}
	wide := slices.ContainsFunc(after, func(c cookie) bool { return !c.hostOnly() })
	h.check(len(jar) > 0 && own.ok() && other.ok() && !wide,
		"cookieHostOnly: login on %s, then %s there and %s from %s; in the jar: %s",
		authHost, own, other, wwwHost, describe(after))
	return nil
}

const prefixedName = "__Host-refresh"

// prefixed: a neighbour can neither set nor shadow the cookie.
func prefixed(ctx context.Context, h *harness, p *profile, _ *page) error {
	auth, err := p.open(ctx, "https://"+authHost+"/test/page")
	if err != nil {
		return err
	}
	neighbour, err := p.open(ctx, "https://"+neighbourHost+"/test/page")
	if err != nil {
		return err
	}
	tossed, err := h.world.issue(ctx, tenant, "prefixed", "mallory", nil)
	if err != nil {
		return err
	}
	toss := func() error {
		return neighbour.set(ctx, neighbourHost,
			form{domain: "example.test"}.line(prefixedName, tossed.String), form{}.line(prefixedName, tossed.String))
	}
	options := object{"cookieName": prefixedName}
	if err := toss(); err != nil {
		return err
	}
	fixed, err := auth.exchange(ctx, options)
	if err != nil {
		return err
	}
	h.check(!fixed.ok(), "%s: before a login, with a neighbour's: %s", prefixedName, fixed)
	if err := auth.login(ctx, "prefixed", "ada"); err != nil {
		return err
	}
	if err := toss(); err != nil {
		return err
	}
	a, err := auth.exchange(ctx, options)
	if err != nil {
		return err
	}
	who, _ := a.who()
	h.check(a.ok() && who.Subject == "ada", "%s: after it: %s as %q", prefixedName, a, who.Subject)
	gone, err := auth.logout(ctx, object{"tenant": tenant, "cookieName": prefixedName})
	if err != nil {
		return err
	}
	jar, err := p.cookies(ctx)
	if err != nil {
		return err
	}
	left := slices.DeleteFunc(jar, func(c cookie) bool { return strings.HasSuffix(c.Domain, neighbourHost) })
	h.check(gone.ok() && len(left) == 0, "%s: logout: %s, left: %s", prefixedName, gone, describe(left))
	return nil
}

// sideBySide: two applications with names of their own below one domain do not see one another.
func sideBySide(ctx context.Context, h *harness, p *profile, t *page) error {
	users := map[string]string{"one": "ada", "two": "bob"}
	for application, user := range users {
		if err := t.login(ctx, application, user); err != nil {
			return err
		}
	}
	for range 2 {
		for application, user := range users {
			a, err := t.exchange(ctx, object{"cookieName": application + "_refresh"})
			if err != nil {
				return err
			}
			who, _ := a.who()
			if !a.ok() || who.Subject != user || who.Application != application {
				h.fail("two applications: the exchange of %s: %s as %+v", application, a, who)
			}
		}
	}
	gone, err := t.logout(ctx, object{"tenant": tenant, "cookieName": "one_refresh"})
	if err != nil {
		return err
	}
	jar, err := p.cookies(ctx)
	if err != nil {
		return err
	}
	a, err := t.exchange(ctx, object{"cookieName": "two_refresh"})
	if err != nil {
		return err
	}
	h.check(gone.ok() && a.ok() && len(withName(jar, "one_refresh")) == 0 && len(withName(jar, "two_refresh")) == 1,
		"two applications below one domain: logout of one: %s, left: %s; the other one's exchange: %s",
		gone, describe(jar), a)
	return nil
}

// renamed: a session whose cookie has the former name moves to the name of the policy.
func renamed(ctx context.Context, h *harness, p *profile, t *page) error {
	s, err := h.world.issue(ctx, tenant, "one", "ada", nil)
	if err != nil {
		return err
	}
	var lines []string
	for _, f := range everyForm {
		lines = append(lines, f.line("refresh_token", s.String))
	}
	if err := t.set(ctx, authHost, lines...); err != nil {
		return err
	}
	a, err := t.exchange(ctx, nil)
	if err != nil {
		return err
	}
	jar, err := p.cookies(ctx)
	if err != nil {
		return err
	}
	next, err := t.exchange(ctx, object{"cookieName": "one_refresh"})
	if err != nil {
		return err
	}
	h.check(a.ok() && len(withName(jar, "refresh_token")) == 0 && len(withName(jar, "one_refresh")) == 1 &&
		next.ok(), "a changed cookieName: %s by the old name, then in the jar: %s; then %s by the new one",
		a, describe(jar), next)
	return nil
}
