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

// kind is what a cookie's value is to the service.
type kind struct {
	name string
	// counts reports whether it is a session's that the exchange may take, where the request names the tenant or not.
	counts func(named bool) bool
	// stays reports whether a refusal leaves the cookie, where the request names the tenant or not.
	stays func(named bool) bool
	value func(ctx context.Context, h *harness, user string) (session, error)
}

func always(bool) bool { return true }
func never(bool) bool  { return false }

// issued makes a session for each cookie.
func issued(tenant, application string) func(context.Context, *harness, string) (session, error) {
	return func(ctx context.Context, h *harness, user string) (session, error) {
		return h.world.issue(ctx, tenant, application, user, nil)
	}
}

// of has the same value for each cookie.
func of(s session) func(context.Context, *harness, string) (session, error) {
	return func(context.Context, *harness, string) (session, error) { return s, nil }
}

const replayed = "replayed"

// kinds are a session's states. What has ended does so only once.
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

// item is a cookie of a case.
type item struct {
	kind kind
	form form
}

// pairsCount is what a pair of kinds came to, in every pair of forms, in both orders.
type pairsCount struct {
	cases, logins int // logins: the most that any case needed
	first         map[string]int
	left          []int // cookies of that name in the jar at the end
}

// pairsPart has two cookies of one name in a jar, of sessions of each pair of kinds, in each pair of forms, set in both
// orders, which is the order in which the browser sends them.
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

// cases are each cookie alone, and each pair of two that stand beside one another in a jar.
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

const newcomer = "carol" // who logs in where an exchange was refused

func pair(ctx context.Context, h *harness, p *profile, t *page, named bool, items []item, n *pairsCount) error {
	if err := p.clear(ctx); err != nil {
		return err
	}
	options := object{}
	if named {
		options["tenant"] = tenant
	}
	var (
		lines   []string
		counted []session
		replay  bool
		stays   = true // all that the request carries stays after a refusal
	)
	for i, it := range items {
		s, err := it.kind.value(ctx, h, pairUsers[i])
		if err != nil {
			return err
		}
		lines = append(lines, it.form.line("refresh_token", s.String))
		if it.kind.counts(named) {
			counted = append(counted, s)
			replay = replay || it.kind.name == replayed
		}
		stays = stays && it.kind.stays(named)
	}
	n.cases++
	wrong := func(format string, args ...any) {
		h.fail("%s, tenant named %t: %s", describeItems(items), named, fmt.Sprintf(format, args...))
	}

	// Each answer is followed by a second exchange: what the first response left must not spoil the next request.
	var got []answer
	err := t.run(ctx, `
		await set(given.host, given.lines);
		const first = await exchange(given.options);
		return first.status == 200 ? [first, await exchange(given.options)] : [first];
	`, object{"host": authHost, "lines": lines, "options": options}, &got)
	if err != nil {
		return err
	}
	jar, err := p.cookies(ctx)
	if err != nil {
		return err
	}
	left := withName(jar, "refresh_token")
	a := got[0]
	if n.first == nil {
		n.first = map[string]int{}
	}
	n.first[a.String()]++

	// One session that counts is exchanged; of none or two the request is refused.
	taken := len(counted) == 1 && !replay
	if a.ok() != taken {
		wrong("%s, with %d sessions that count", a, len(counted))
	}
	if conflict := slices.Contains(a.Codes, "[conflict]refreshToken"); conflict != (len(counted) > 1) {
		wrong("%s, with %d sessions that count", a, len(counted))
	}
	user := newcomer
	if a.ok() {
		who, err := a.who()
		if err != nil {
			return err
		}
		if taken && (who.Session != counted[0].ID || who.Subject != counted[0].user || who.Tenant != counted[0].tenant) {
			wrong("it was exchanged as %+v, want %+v", who, counted[0])
		}
		user = who.Subject
	} else {
		if stays && len(left) != len(items) {
			wrong("%s, left: %s, want both", a, describe(left))
		}
		if !slices.ContainsFunc(items, func(i item) bool { return i.kind.stays(named) }) && len(left) > 0 {
			wrong("%s, left: %s, want none", a, describe(left))
		}
		n.logins = max(n.logins, 1)
		err := t.run(ctx, `
			await login(given.application, given.user);
			return [await exchange(given.options), await exchange(given.options)];
		`, object{"application": "shop", "user": newcomer, "options": options}, &got)
		if err != nil {
			return err
		}
		if jar, err = p.cookies(ctx); err != nil {
			return err
		}
	}
	for _, a := range got {
		if who, _ := a.who(); !a.ok() || who.Subject != user {
			n.logins = 2
			wrong("in the end: %s as %q, want %q", a, who.Subject, user)
		}
	}
	n.left = append(n.left, len(withName(jar, "refresh_token")))
	return nil
}
