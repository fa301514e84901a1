package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/refreshd/refreshd/test/support/figures"
	"github.com/refreshd/refreshd/test/support/rig"
)

// kind is a kind of cookie value, as the service distinguishes them.
type kind struct {
	name string
	// counts reports whether the exchange may use its session, if the request names the tenant or not.
	counts func(named bool) bool
	// stays reports whether a refusal leaves the cookie in the jar, if the request names the tenant or not.
	stays func(named bool) bool
	value func(ctx context.Context, h *harness, user string) (session, error)
}

func always(bool) bool { return true }
func never(bool) bool  { return false }

// issued issues a session for each cookie.
func issued(tenant, application string) func(context.Context, *harness, string) (session, error) {
	return func(ctx context.Context, h *harness, user string) (session, error) {
		return h.world.issue(ctx, tenant, application, user, nil)
	}
}

// of gives each cookie the same value.
func of(s session) func(context.Context, *harness, string) (session, error) {
	return func(context.Context, *harness, string) (session, error) { return s, nil }
}

const replayed = "replayed"

// kinds are the states of a session. A session ends only once.
func kinds(ctx context.Context, h *harness) ([]kind, error) {
	inactive, err := h.world.issue(ctx, tenant, "sleeping", "ada", nil)
	if err != nil {
		return nil, err
	}
	if err := h.world.deactivate(ctx, "sleeping"); err != nil {
		return nil, err
	}
	expires := time.Now().Add(2 * time.Second)
	expired, err := h.world.issue(ctx, tenant, "shop", "ada", object{"expirationInstant": expires.UnixMilli()})
	if err != nil {
		return nil, err
	}
	revoked, err := h.world.issue(ctx, tenant, "shop", "ada", nil)
	if err != nil {
		return nil, err
	}
	if err := h.world.revoke(ctx, revoked); err != nil {
		return nil, err
	}
	forged := revoked
	forged.String = revoked.String[:len(revoked.String)-8] + strings.Map(func(r rune) rune {
		if r == 'A' {
			return 'B'
		}
		return 'A'
	}, revoked.String[len(revoked.String)-8:])
	if err := rig.Sleep(ctx, time.Until(expires)+10*time.Millisecond); err != nil { // until it has expired
		return nil, err
	}
	for s, want := range map[session]string{
		inactive: "inactive", expired: "expired", revoked: "revoked", forged: "invalid",
	} {
		if got, err := h.world.exchangeString(ctx, s.String); err != nil || got != want {
			return nil, fmt.Errorf("a session for the pairs: got outcome %q, %v, want %s", got, err, want)
		}
	}
	return []kind{
		{"live", always, never, issued(tenant, "shop")},
		{"another application's", always, never, issued(tenant, "blog")},
		{"another tenant's", func(named bool) bool { return !named }, func(named bool) bool { return named },
			issued(stranger, "shop")},
		{"an inactive application's", never, always, of(inactive)},
		{"revoked", never, never, of(revoked)},
		{"expired", never, never, of(expired)},
		{"forged", never, never, of(forged)},
		{replayed, always, never, func(ctx context.Context, h *harness, user string) (session, error) {
			s, err := h.world.issue(ctx, tenant, "strict", user, nil)
			if err != nil {
				return s, err
			}
			outcome, err := h.world.exchangeString(ctx, s.String)
			if err == nil && outcome != "rotated" {
				err = fmt.Errorf("make a string that is replayed: %s", outcome)
			}
			return s, err
		}},
		{"another product's", never, always, of(session{String: "4711"})},
	}, nil
}

// item is one cookie of a case.
type item struct {
	kind kind
	form form
}

// pairsCount is the result of a pair of kinds, in every pair of forms, in both orders.
type pairsCount struct {
	cases, logins int // logins: the greatest number that a case needed
	first         map[string]int
	left          []int // how many cookies of that name the jar has at the end
}

// pairsPart puts two cookies of one name into a jar, for each pair of kinds, in each pair of forms, set in both orders,
// because the browser sends them in that order.
func pairsPart(ctx context.Context, h *harness) error {
	all, err := kinds(ctx, h)
	if err != nil {
		return err
	}
	type column struct {
		host  string
		named bool
	}
	columns := []column{{wwwHost, false}, {authHost, true}}
	rows, order := map[string][]pairsCount{}, []string(nil)
	for i, c := range columns {
		p, err := h.browser.newProfile(ctx)
		if err != nil {
			return err
		}
		t, err := p.open(ctx, "https://"+c.host+"/test/page")
		if err != nil {
			return err
		}
		for items := range cases(all) {
			name := items[0].kind.name
			if len(items) == 2 {
				name += ", " + items[1].kind.name
				if reversed := items[1].kind.name + ", " + items[0].kind.name; rows[reversed] != nil {
					name = reversed // one row for both orders
				}
			}
			if rows[name] == nil {
				rows[name] = make([]pairsCount, len(columns))
				order = append(order, name)
			}
			if err := pair(ctx, h, p, t, c.named, items, &rows[name][i]); err != nil {
				return fmt.Errorf("%s, %v: %w", c.host, describeItems(items), err)
			}
		}
		if err := p.close(ctx); err != nil {
			return err
		}
	}
	t := figures.NewTable("cookies, in both orders", "cases each",
		"from "+wwwHost+", no tenant named", "logins", "left", "from "+authHost+", tenant named", "logins", "left")
	cases, logins := 0, 0
	for _, name := range order {
		row := []string{name, fmt.Sprint(rows[name][0].cases)}
		for _, r := range rows[name] {
			row = append(row, count(r.first), fmt.Sprint(r.logins),
				fmt.Sprintf("%d to %d", slices.Min(r.left), slices.Max(r.left)))
			cases += r.cases
			logins = max(logins, r.logins)
		}
		t.Add(row...)
	}
	h.note("%d cases; the most logins that one needed: %d", cases, logins)
	fmt.Fprintf(&h.out, "\n%s", t)
	return nil
}

// cases returns each cookie alone, and each pair that can be in one jar.
func cases(kinds []kind) func(yield func([]item) bool) {
	var all []item
	for _, k := range kinds {
		for _, f := range everyForm {
			all = append(all, item{k, f})
		}
	}
	return func(yield func([]item) bool) {
		for _, a := range all {
			if !yield([]item{a}) {
				return
			}
		}
		for _, a := range all {
			for _, b := range all {
				if a.form != b.form && !yield([]item{a, b}) {
					return
				}
			}
		}
	}
}

func describeItems(items []item) string {
	var all []string
	for _, i := range items {
		all = append(all, i.kind.name+" "+i.form.String())
	}
	return strings.Join(all, ", ")
}

var pairUsers = []string{"ada", "bob"}

const newcomer = "carol" // the user who logs in after a refused exchange

// pairing is one case: cookies of one name, and how the service may treat them.
type pairing struct {
	*harness
	profile *profile
	page    *page
	named   bool // whether the request names the tenant
	items   []item
	lines   []string  // the Set-Cookie headers of the cookies
	counted []session // the sessions that the exchange may use
	replay  bool      // whether one of these is replayed
	stays   bool      // whether a refusal leaves all cookies of the request in the jar
	left    []cookie  // the cookies after the first exchanges
}

func pair(ctx context.Context, h *harness, p *profile, t *page, named bool, items []item, n *pairsCount) error {
	if err := p.clear(ctx); err != nil {
		return err
	}
	c := &pairing{harness: h, profile: p, page: t, named: named, items: items, stays: true}
	for i, it := range items {
		s, err := it.kind.value(ctx, h, pairUsers[i])
		if err != nil {
			return err
		}
		c.lines = append(c.lines, it.form.line("refresh_token", s.String))
		if it.kind.counts(named) {
			c.counted = append(c.counted, s)
			c.replay = c.replay || it.kind.name == replayed
		}
		c.stays = c.stays && it.kind.stays(named)
	}
	n.cases++

	// Each response is followed by a second exchange: the cookies that the first response left must not break it.
	var got []answer
	err := t.run(ctx, `
		await set(given.host, given.lines);
		const first = await exchange(given.options);
		return first.status == 200 ? [first, await exchange(given.options)] : [first];
	`, object{"host": authHost, "lines": c.lines, "options": c.options()}, &got)
	if err != nil {
		return err
	}
	if c.left, err = c.jar(ctx); err != nil {
		return err
	}
	a := got[0]
	if n.first == nil {
		n.first = map[string]int{}
	}
	n.first[a.String()]++
	user, err := c.judge(a)
	if err != nil {
		return err
	}
	if !a.ok() {
		n.logins, user = max(n.logins, 1), newcomer
		if got, err = c.login(ctx); err != nil {
			return err
		}
	}
	for _, a := range got {
		if who, _ := a.who(); !a.ok() || who.Subject != user {
			n.logins = 2
			c.wrong("in the end: %s as %q, want %q", a, who.Subject, user)
		}
	}
	left, err := c.jar(ctx)
	n.left = append(n.left, len(left))
	return err
}

func (c *pairing) wrong(format string, args ...any) {
	c.fail("%s, tenant named %t: %s", describeItems(c.items), c.named, fmt.Sprintf(format, args...))
}

// options returns the options of an exchange.
func (c *pairing) options() object {
	if c.named {
		return object{"tenant": tenant}
	}
	return object{}
}

// jar returns the cookies of the name that the service sets.
func (c *pairing) jar(ctx context.Context) ([]cookie, error) {
	all, err := c.profile.cookies(ctx)
	return withName(all, "refresh_token"), err
}

// judge checks the first response: if one session counts, it is exchanged; if none or two count, the request is
// refused. It returns the user whose session was exchanged.
func (c *pairing) judge(a answer) (user string, err error) {
	taken := len(c.counted) == 1 && !c.replay
	if a.ok() != taken {
		c.wrong("%s, with %d sessions that count", a, len(c.counted))
	}
	if conflict := slices.Contains(a.Codes, "[conflict]refreshToken"); conflict != (len(c.counted) > 1) {
		c.wrong("%s, with %d sessions that count", a, len(c.counted))
	}
	if a.ok() {
		who, err := a.who()
		if err != nil {
			return "", err
		}
		want := c.counted
		if taken && (who.Session != want[0].ID || who.Subject != want[0].user || who.Tenant != want[0].tenant) {
			c.wrong("it was exchanged as %+v, want %+v", who, want[0])
		}
		return who.Subject, nil
	}
	if c.stays && len(c.left) != len(c.items) {
		c.wrong("%s, left: %s, want both", a, describe(c.left))
	}
	stays := func(i item) bool { return i.kind.stays(c.named) }
	if !slices.ContainsFunc(c.items, stays) && len(c.left) > 0 {
		c.wrong("%s, left: %s, want none", a, describe(c.left))
	}
	return "", nil
}

// login logs the newcomer in, and exchanges twice.
func (c *pairing) login(ctx context.Context) (got []answer, err error) {
	err = c.page.run(ctx, `
		await login(given.application, given.user);
		return [await exchange(given.options), await exchange(given.options)];
	`, object{"application": "shop", "user": newcomer, "options": c.options()}, &got)
	return got, err
}
