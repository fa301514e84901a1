package main

import (
	"context"
	"fmt"
)

// everyForm is all ways in which a host below example.test can set a cookie that the browser sends to the service, at
// Path=/.
var everyForm = []form{{}, {domain: authHost}, {domain: "app.example.test"}, {domain: "example.test"}}

// logoutPart logs out in every way, from each own page, with both cookies in the jar in every form.
func logoutPart(ctx context.Context, h *harness) error {
	for _, way := range []struct {
		about string
		state string // of the session: "ended" before, or its cookie "gone"; or "two" are active, and both end
		want  int
		how   func(session, answer) object
	}{
		{"by cookie", "", 200, func(session, answer) object { return object{"tenant": tenant} }},
		{"by cookie, of a session that had ended", "ended", 404, func(session, answer) object {
			return object{"tenant": tenant}
		}},
		{"by cookie, of two active sessions", "two", 200, func(session, answer) object {
			return object{"tenant": tenant}
		}},
		{"by cookie, with the access token's cookies alone", "gone", 404, func(session, answer) object {
			return object{"tenant": tenant}
		}},
		{"by the owner's access token", "", 200, func(s session, a answer) object {
			return object{"tenant": tenant, "id": a.Data.RefreshTokenID, "token": a.Data.Token}
		}},
	} {
		for _, host := range []string{wwwHost, authHost} {
			about := way.about + ", from " + host
			if err := logout(ctx, h, host, about, way.state, way.want, way.how); err != nil {
				return fmt.Errorf("%s: %w", about, err)
			}
		}
	}
	return nil
}

func logout(
	ctx context.Context, h *harness, host, about, state string, want int, how func(session, answer) object,
) error {
	p, err := h.browser.newProfile(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = p.close(context.WithoutCancel(ctx)) }()
	t, err := p.open(ctx, "https://"+host+"/test/page")
	if err != nil {
		return err
	}
	s, a, before, err := everywhere(ctx, h, p, t)
	if err != nil {
		return err
	}
	other, err := bring(ctx, h, t, s, state)
	if err != nil {
		return err
	}
	got, err := t.logout(ctx, how(s, a))
	if err != nil {
		return err
	}
	after, err := p.cookies(ctx)
	if err != nil {
		return err
	}
	generation, err := h.world.generation(ctx, tenant, s.ID)
	if err != nil {
		return err
	}
	others, err := h.world.generation(ctx, tenant, other.ID)
	if err != nil {
		return err
	}
	left := withName(after, "refresh_token", "access_token")
	active := generation > 0 || others > 0
	h.check(got.Status == want && len(left) == 0 && active == (state == "gone"),
		"%s: %d, session active: %t, %d cookies before, left: %s",
		about, got.Status, active, len(before), describe(left))
	return nil
}

// everywhere sets the cookies of a new session in every form, and returns its last exchange.
func everywhere(
	ctx context.Context, h *harness, p *profile, t *page,
) (s session, a answer, before []cookie, err error) {
	if s, err = h.world.issue(ctx, tenant, "shop", "ada", nil); err != nil {
		return s, a, nil, err
	}
	if err := t.set(ctx, authHost, form{}.line("refresh_token", s.String)); err != nil {
		return s, a, nil, err
	}
	if a, err = t.exchange(ctx, nil); err != nil {
		return s, a, nil, err
	}
	// The session is in the jar in every form, as if different login services had set it.
	var lines []string
	for _, f := range everyForm {
		lines = append(lines, f.line("refresh_token", s.String), f.line("access_token", s.Token))
	}
	if err := t.set(ctx, authHost, lines...); err != nil {
		return s, a, nil, err
	}
	if before, err = p.cookies(ctx); err != nil {
		return s, a, nil, err
	}
	if got := len(withName(before, "refresh_token", "access_token")); !a.ok() || got != 2*len(everyForm) {
		return s, a, nil, fmt.Errorf("before it: %s, %d cookies: %s", a, got, describe(before))
	}
	return s, a, before, nil
}

// bring changes the session s and its cookies to the state, and returns the active session: another one, or s if there
// is no other.
func bring(ctx context.Context, h *harness, t *page, s session, state string) (other session, err error) {
	other = s
	switch state {
	case "gone":
		for _, f := range everyForm {
			if err := t.set(ctx, authHost, f.line("refresh_token", "")+"; Max-Age=0"); err != nil {
				return other, err
			}
		}
	case "ended":
		if err := h.world.revoke(ctx, s); err != nil {
			return other, err
		}
	case "two":
		if other, err = h.world.issue(ctx, tenant, "shop", "bob", nil); err != nil {
			return other, err
		}
		if err := t.set(ctx, authHost, everyForm[1].line("refresh_token", other.String)); err != nil {
			return other, err
		}
	}
	return other, nil
}
