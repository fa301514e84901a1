package main

import (
	"context"
	"fmt"

	"github.com/refreshd/refreshd/test/support/figures"
)

// tossedForms are the forms that a host of the site can set for the service's host, and that a response would leave if
// it deleted cookies at Path=/ only.
var tossedForms = []form{
	{domain: "example.test"},
	{domain: "example.test", path: "/jwt"},
	{domain: "example.test", path: "/jwt/"},
	{domain: "example.test", path: "/jwt/refresh"},
	{domain: "example.test", partitioned: true},
	{domain: "example.test", path: "/jwt/refresh", partitioned: true},
}

// mostLogins is the number of logins after which a user counts as locked out.
const mostLogins = 3

// tossedPart has a neighbour set a cookie of the service's name beside that of a user who is logged in. The neighbour
// may cost the user one login for each cookie that it sets.
func tossedPart(ctx context.Context, h *harness) error {
	p, err := h.browser.newProfile(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = p.close(context.WithoutCancel(ctx)) }()
	own, err := p.open(ctx, "https://"+wwwHost+"/test/page")
	if err != nil {
		return err
	}
	neighbour, err := p.open(ctx, "https://"+neighbourHost+"/test/page")
	if err != nil {
		return err
	}
	t := figures.NewTable("a neighbour's cookie", "of an ended session: logins", "of its own active session: logins")
	for _, f := range tossedForms {
		row := []string{f.String()}
		for _, live := range []bool{false, true} {
			logins, seen, err := tossed(ctx, h, p, own, neighbour, f, live)
			if err != nil {
				return fmt.Errorf("%s: %w", f, err)
			}
			if logins > 1 {
				h.fail("%s, of an active session: %t: after %d logins: %s", f, live, logins, seen)
			}
			row = append(row, fmt.Sprint(logins))
		}
		t.Add(row...)
	}
	fmt.Fprintf(&h.out, "\n%s", t)
	return nil
}

func tossed(
	ctx context.Context, h *harness, p *profile, own, neighbour *page, f form, live bool,
) (logins int, seen answer, err error) {
	if err := p.clear(ctx); err != nil {
		return 0, seen, err
	}
	s, err := h.world.issue(ctx, tenant, "shop", "mallory", nil)
	if err != nil {
		return 0, seen, err
	}
	if !live {
		if err := h.world.revoke(ctx, s); err != nil {
			return 0, seen, err
		}
	}
	if err := own.login(ctx, "shop", "ada"); err != nil {
		return 0, seen, err
	}
	if err := neighbour.set(ctx, neighbourHost, f.line("refresh_token", s.String)); err != nil {
		return 0, seen, err
	}
	for ; ; logins++ {
		// Twice, because the cookies that the first response left must not break the next request.
		good := 0
		for range 2 {
			if seen, err = own.exchange(ctx, nil); err != nil {
				return logins, seen, err
			}
			if who, _ := seen.who(); seen.ok() && who.Subject == "ada" {
				good++
			} else if seen.ok() {
				h.fail("%s: the user's page got a session of %s", f, who.Subject)
			}
		}
		if good == 2 || logins == mostLogins {
			return logins, seen, nil
		}
		if err := own.login(ctx, "shop", "ada"); err != nil {
			return logins, seen, err
		}
	}
}
