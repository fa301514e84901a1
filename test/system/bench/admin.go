package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/refreshd/refreshd/test/support/figures"
	"github.com/refreshd/refreshd/test/support/rig"
)

// adminParts are the parts of adminPart. Each of them can be run alone.
var adminParts = []part{
	{name: "admin-lists", about: "pages of sessions, tenants, applications, API keys and events over HTTP, first and " +
		"deep, on PostgreSQL; only if it is named", run: adminListsPart, apart: true},
	{name: "admin-delete", about: "deletion of a tenant with a million sessions while another tenant exchanges; only if " +
		"it is named", run: adminDeletePart, apart: true},
	{name: "admin-before", about: "exchanges beside those of the older program, which -base names; only if it is named",
		run: adminBeforePart, apart: true},
}

func adminPart(ctx context.Context, b *bench) error { return b.allOf(ctx, adminParts, "admin-before") }

// allOf runs the parts; without an older program all but before, which compares with it.
func (b *bench) allOf(ctx context.Context, parts []part, before string) error {
	for _, p := range parts {
		if p.name == before && b.baseName == "" {
			continue
		}
		begun := time.Now()
		if err := b.one(ctx, p); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		b.progress("%s took %s", p.name, time.Since(begun).Round(time.Second))
	}
	return nil
}

// adminList is a list that an operator reads, page by page.
type adminList struct {
	name   string
	path   string // with the filters
	tenant string // of the request; may be empty
	empty  bool   // no page that is read needs to have a row: the filter selects only old ones
}

const (
	measuredLimit = "100"
	walkedLimit   = "1000" // of the pages that lead to the deep ones
	eventSpacing  = 2500   // milliseconds between two events
)

// adminLists are all lists of the administration, and those of sessions. Of the filters of the audit trail, some select
// most events, some few, and some only the oldest ones, so that each page looks at as many events as it may.
func adminLists(events int, newest time.Time) (all []adminList) {
	for _, of := range []struct{ name, query string }{
		{"a tenant", ""}, {"an application", "&applicationsId=web"}, {"a user", "&userId=" + hoarder},
		{"a user in an application", "&applicationsId=app&userId=" + hoarder},
	} {
		for _, state := range []string{"active", "ended", "all"} {
			all = append(all, adminList{
				name: state + " sessions of " + of.name, path: "/jwt/refresh?state=" + state + of.query, tenant: tenant,
				empty: state == "active", // the newest of millions have ended
			})
		}
	}
	all = append(all,
		adminList{name: "tenants", path: "/tenant?"},
		adminList{name: "applications of a tenant", path: "/application?", tenant: tenant},
		adminList{name: "API keys", path: "/api-key?"},
		adminList{name: "API keys of a tenant", path: "/api-key?", tenant: tenant},
	)
	span := time.Duration(events) * eventSpacing * time.Millisecond
	milliseconds := func(share float64) string {
		return strconv.FormatInt(newest.Add(-time.Duration(share*float64(span))).UnixMilli(), 10)
	}
	for _, of := range []string{"", tenant} {
		name := "events"
		if of != "" {
			name = "events of a tenant"
		}
		for _, f := range []struct {
			name, query string
			empty       bool
		}{
			{"", "", false},
			{", of a kind that most have", "kind=token.revoked", false},
			{", of a kind that a thousandth has", "kind=tenant.updated", false},
			{", of an actor of the oldest tenth", "actor=actor-0", true},
			{", of the oldest object", "object=object-2", true},
			{", of the oldest request", "requestId=request-2", true},
			{", of a time in the middle", "from=" + milliseconds(.8) + "&until=" + milliseconds(.5), false},
			{", of a time in the middle and the oldest object", "object=object-2&from=" + milliseconds(.8) + "&until=" +
				milliseconds(.5), true},
		} {
			all = append(all, adminList{name: name + f.name, path: "/audit?" + f.query, tenant: of, empty: f.empty})
		}
	}
	return all
}

// page is the path of a page with that limit, from a cursor on.
func (l adminList) page(limit, cursor string) string {
	path, query, _ := strings.Cut(l.path, "?")
	if query != "" {
		query += "&"
	}
	if query += "limit=" + limit; cursor != "" {
		query += "&cursor=" + cursor
	}
	return path + "?" + query
}

var nextCursor = regexp.MustCompile(`^<\?.*\bcursor=([^&>]*).*>; rel="next"$`)

// walk reads at most that many pages, and returns the cursors of those after the first. It fails if an object is on two
// pages.
func (l adminList) walk(ctx context.Context, s *service, pages int) (cursors []string, err error) {
	seen, cursor := map[string]bool{}, ""
	for range pages {
		path := l.page(walkedLimit, cursor)
		r, err := l.request(path).Do(ctx, rig.Client, s.API)
		if err != nil {
			return nil, err
		}
		var body struct {
			Data []struct{ ID string }
		}
		if err := json.Unmarshal(r.Body, &body); err != nil || r.Status != http.StatusOK {
			return nil, fmt.Errorf("GET %s: got %s, %v", path, r, err)
		}
		for _, row := range body.Data {
			if row.ID == "" || seen[row.ID] {
				return nil, fmt.Errorf("GET %s: the object %q has no id, or is on two pages", path, row.ID)
			}
			seen[row.ID] = true
		}
		link := nextCursor.FindStringSubmatch(r.Header.Get("Link"))
		if link == nil {
			break
		}
		cursor = link[1]
		cursors = append(cursors, cursor)
	}
	if len(seen) == 0 && !l.empty {
		return nil, fmt.Errorf("%s: %d pages have no object", l.name, pages)
	}
	return cursors, nil
}

func (l adminList) request(path string) rig.Request {
	return rig.Request{Method: http.MethodGet, Path: path, Key: operatorKey, Tenant: l.tenant}
}

// measure reads n pages one after another: those that begin at the cursors, and these again until there are n.
func (l adminList) measure(ctx context.Context, s *service, n int, cursors ...string) (took latencies, err error) {
	var requests [][]byte
	for _, cursor := range cursors {
		requests = append(requests, l.request(l.page(measuredLimit, cursor)).Bytes(s.API))
	}
	c := newCallers(s, 1)
	disconnect, err := connect(ctx, c, 2*time.Minute)
	defer disconnect()
	if err != nil {
		return took, err
	}
	var all []time.Duration
	for i := range warmUp + n {
		begin := time.Now()
		status, err := c[0].call(requests[i%len(requests)])
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("got status %d: %s", status, c[0].body)
		}
		if err != nil {
			return took, fmt.Errorf("%s: %w", requests[i%len(requests)], err)
		}
		if i >= warmUp {
			all = append(all, time.Since(begin))
		}
	}
	return newLatencies(all), nil
}

// operated returns a setup of this source with an API key for administration.
func (b *bench) operated(p policy) setup {
	return setup{program: b.program, mode: asItComes, policy: p, operated: true}
}

// adminListsPart reads the first page of each list, and deep ones. It fails if PostgreSQL plans to read a table whole
// for one of the statements that the service sends.
func adminListsPart(ctx context.Context, b *bench) error {
	b.report.section("Administration: lists, PostgreSQL")
	dsn, lists, err := b.administered(ctx)
	if err != nil {
		return err
	}
	how := b.operated(defaults)
	s, err := how.serve(ctx, dsn)
	if err != nil {
		return err
	}
	b.later(s.Stop)
	t := figures.NewTable("a page of 100", "first: p50 ms", "p99 ms", "deep: p50 ms", "p99 ms", "deep pages")
	worst, deepest := 0.0, map[string]string{}
	from, ours := rig.ReadMachine(), func() time.Duration { return b.cpuOf([]*service{s}, &fleet{}) }
	begun := ours()
	for _, l := range lists {
		cursors, err := l.walk(ctx, s, b.plan.adminPages)
		if err != nil {
			return s.Explain(err)
		}
		first, err := l.measure(ctx, s, b.plan.adminCalls, "")
		if err != nil {
			return err
		}
		row := []string{l.name, ms(first.p50), ms(first.p99)}
		worst = max(worst, first.p99.Seconds()*1e3)
		deep := latencies{}
		if len(cursors) > 0 {
			deepest[l.name] = cursors[len(cursors)-1]
			if deep, err = l.measure(ctx, s, b.plan.adminCalls, cursors...); err != nil {
				return err
			}
			row = append(row, ms(deep.p50), ms(deep.p99), fmt.Sprint(len(cursors)))
			worst = max(worst, deep.p99.Seconds()*1e3)
		}
		t.Add(row...)
		b.progress("lists: %s: p99 %s and %s ms", l.name, ms(first.p99), ms(deep.p99))
	}
	used := newLoad(from, rig.ReadMachine(), ours()-begun)
	if err := s.Stop(); err != nil {
		return err
	}
	planned, err := b.checkAdminPlans(ctx, dsn, lists, deepest)
	if err != nil {
		return err
	}
	b.report.say("%d sessions, half of them ended; %d tenants, applications and API keys each; %d events. One caller, %d "+
		"requests of each. A deep page follows up to %d others of %s. %d statements: none reads a table whole. Other "+
		"processes took %.0f %% of the machine.", b.plan.adminSessions, b.plan.adminObjects, b.plan.adminEvents,
		b.plan.adminCalls, b.plan.adminPages, walkedLimit, planned, 100*used.others)
	b.report.table(t)
	b.report.figure("admin lists", worst)
	return nil
}

// administered returns a database with sessions, tenants, applications, API keys and events, and its lists.
func (b *bench) administered(ctx context.Context) (dsn string, lists []adminList, err error) {
	how := b.operated(defaults)
	if dsn, err = b.newDatabase(ctx, how); err != nil {
		return "", nil, err
	}
	// The service makes its keys first: it refuses a store with data and without them.
	if _, err := how.briefly(ctx, dsn, func(s *service) error {
		err := s.operate(ctx, http.StatusCreated, http.MethodPost, "/tenant/"+neighbour, "", `{}`)
		for _, of := range []string{tenant, neighbour} {
			for _, id := range []string{"web", "app"} {
				err = errors.Join(err, s.operate(ctx, http.StatusCreated, http.MethodPost, "/application/"+id, of, `{}`))
			}
		}
		return err
	}); err != nil {
		return "", nil, err
	}
	db, err := sql.Open("pgx", dsn)
	if err != nil {
		return "", nil, err
	}
	if err := errors.Join(listedPostgres.load(ctx, b, db, b.plan.adminSessions), db.Close()); err != nil {
		return "", nil, err
	}
	newest := time.Now().Add(-time.Hour)
	return dsn, adminLists(b.plan.adminEvents, newest), withConnection(ctx, dsn, func(c *pgx.Conn) error {
		for what, load := range map[string]struct {
			text string
			args []any
		}{
			"tenants":      {adminTenants, []any{b.plan.adminObjects}},
			"applications": {adminApplications, []any{b.plan.adminObjects, tenant}},
			"API keys":     {adminAPIKeys, []any{2 * b.plan.adminObjects, tenant}},
			"events":       {adminEvents, []any{b.plan.adminEvents, tenant, newest.UnixMilli(), eventSpacing}},
		} {
			b.progress("lists: loading %s", what)
			if _, err := c.Exec(ctx, load.text, load.args...); err != nil {
				return fmt.Errorf("load %s: %w", what, err)
			}
		}
		_, err := c.Exec(ctx, "VACUUM (ANALYZE)")
		return err
	})
}

// Each copies a row that the service itself stored, with other ids. Of the API keys and of the events, half are the
// tenant's.
const (
	adminTenants = `
INSERT INTO tenants
SELECT (jsonb_populate_record(t, jsonb_build_object('id', 'tenant-' || i, 'name', 'Tenant ' || i))).*
FROM tenants AS t, generate_series(1, $1::int) AS i WHERE t.id = '` + neighbour + `'`

	adminApplications = `
INSERT INTO applications
SELECT (jsonb_populate_record(a, jsonb_build_object('id', 'app-' || i, 'name', 'Application ' || i))).*
FROM applications AS a, generate_series(1, $1::int) AS i WHERE a.tenant_id = $2 AND a.id = 'web'`

	adminAPIKeys = `
INSERT INTO api_keys
SELECT (jsonb_populate_record(k, jsonb_build_object('name', 'key-' || i, 'id', '\x' || md5(i::text),
  'hash', sha256(i::text::bytea)::text, 'tenant_id', CASE WHEN i % 2 = 0 THEN $2::text ELSE '' END))).*
FROM api_keys AS k, generate_series(1, $1::int) AS i WHERE k.name = 'bench'`

	adminEvents = `
INSERT INTO events (id, at, kind, actor_kind, actor_id, actor_name, actor_address, request_id, tenant_id, object_id,
  application_id, user_id, before, after, version, tokens)
SELECT decode(lpad(to_hex(at), 12, '0') || '70008000' || lpad(to_hex(n), 12, '0'), 'hex'), at * 1000,
  CASE WHEN n % 1000 < 2 THEN 'tenant.updated' ELSE 'token.revoked' END, 'apiKey', 'actor-' || 10 * n / ($1::int + 1),
  'backend', '192.0.2.7', 'request-' || n, CASE WHEN n % 2 = 0 THEN $2::text ELSE '` + neighbour + `' END,
  'object-' || n, '', '', '', '{"revokedReason":"revoked","padding":"' || repeat('x', 200) || '"}', 0, ''
FROM (SELECT n::bigint, $3::bigint - ($1::int - n::bigint) * $4::bigint AS at
  FROM generate_series(1, $1::int) AS n) AS e`
)

// administration matches the tables whose rows the lists return.
var administration = regexp.MustCompile(`\b(refresh_tokens|tenants|applications|api_keys|events)\b`)

var placeholder = regexp.MustCompile(`\$(\d+)`)

// checkAdminPlans has a service log the statements of a first and of a deep page of each list, and reads their plans,
// which PostgreSQL makes with the settings of the service. It returns how many statements there are.
func (b *bench) checkAdminPlans(
	ctx context.Context, dsn string, lists []adminList, deepest map[string]string,
) (n int, err error) {
	settings := b.operated(defaults).settings(dsn)
	settings.Env = append(settings.Env, "REFRESHD_LOG_LEVEL=debug")
	started, err := b.program.Serve(ctx, settings)
	if err != nil {
		return 0, err
	}
	s := &service{started}
	b.later(s.Stop)
	if err := s.Forget(); err != nil {
		return 0, err
	}
	sent := map[string]string{} // the list, by the statement
	for _, l := range lists {
		for _, cursor := range []string{"", deepest[l.name]} {
			if _, err := l.measure(ctx, s, 1, cursor); err != nil {
				return 0, err
			}
		}
		for line := range strings.Lines(s.Log()) {
			var logged struct{ Event, SQL string }
			if json.Unmarshal([]byte(line), &logged) == nil && logged.Event == "database.statement" &&
				administration.MatchString(logged.SQL) {
				sent[logged.SQL] = l.name
			}
		}
		if err := s.Forget(); err != nil {
			return 0, err
		}
	}
	if err := s.Stop(); err != nil {
		return 0, err
	}
	if len(sent) == 0 {
		return 0, errors.New("the service logged no statement of a list")
	}
	conn, err := connectAsService(ctx, dsn)
	if err != nil {
		return 0, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	for text, name := range sent {
		plan, err := genericPlan(ctx, conn, text)
		if err != nil {
			return 0, fmt.Errorf("%s: explain %s: %w", name, text, err)
		}
		if strings.Contains(plan, "Seq Scan") {
			return 0, fmt.Errorf("%s: a statement reads a table whole:\n%s\n%s", name, text, plan)
		}
	}
	return len(sent), nil
}

// connectAsService returns a connection with the settings of the service's.
func connectAsService(ctx context.Context, dsn string) (*pgx.Conn, error) {
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, err
	}
	config.RuntimeParams["options"] = sessionSettings
	return pgx.ConnectConfig(ctx, config)
}

// genericPlan returns the plan of a statement for arguments that are not known.
func genericPlan(ctx context.Context, conn *pgx.Conn, text string) (plan string, err error) {
	most := 0
	for _, p := range placeholder.FindAllStringSubmatch(text, -1) {
		number, err := strconv.Atoi(p[1])
		if err != nil {
			return "", err
		}
		most = max(most, number)
	}
	execute := "EXECUTE planned"
	if most > 0 {
		execute += " (" + strings.Join(slices.Repeat([]string{"NULL"}, most), ", ") + ")"
	}
	for _, step := range []string{"PREPARE planned AS " + text, "EXPLAIN (COSTS OFF) " + execute, "DEALLOCATE planned"} {
		results, err := conn.PgConn().Exec(ctx, step).ReadAll()
		if err != nil {
			return "", err
		}
		for _, r := range results {
			for _, row := range r.Rows {
				plan += string(row[0]) + "\n"
			}
		}
	}
	return plan, nil
}

const (
	neighbour   = "globex" // another tenant
	deleteUsers = 32
)

// adminDeletePart deletes a tenant with many sessions, and creates it again, while users of another tenant exchange.
func adminDeletePart(ctx context.Context, b *bench) error {
	b.report.section("Administration: deletion of a tenant, PostgreSQL")
	how := b.operated(noGrace)
	k, err := b.newBulk(ctx, how, never)
	if err != nil {
		return err
	}
	if err := b.grow(ctx, k, b.plan.adminDeleted, rested); err != nil {
		return err
	}
	s, err := how.serve(ctx, k.dsn)
	if err != nil {
		return err
	}
	b.later(s.Stop)
	d := &deletion{service: s, bulk: k}
	users, err := d.neighbours(ctx, deleteUsers)
	if err != nil {
		return s.Explain(err)
	}
	const quiet, deleting = "no deletion", "deletions in progress"
	w, m := b.plan.window, meter{service: s, server: b.server}
	variants := []variant{
		{name: quiet, run: func(n int) (run, error) { return exchanges(ctx, w, m, users[:n]) }},
		{name: deleting, run: func(n int) (run, error) {
			stop := d.repeat(ctx)
			r, err := exchanges(ctx, w, m, users[:n])
			return r, errors.Join(err, stop())
		}},
	}
	series, err := b.turns("deletion of a tenant", b.plan.rounds, variants, deleteUsers)
	if err != nil {
		return err
	}
	if len(d.took) == 0 {
		return errors.New("no tenant was deleted")
	}
	first := d.took[0]
	l := newLatencies(d.took)
	b.report.say("%d deletions of a tenant with %d sessions, which was created again after each: the first, which ended "+
		"them, took %s ms; p50 %s ms, p99 %s ms. After each deletion, and after each creation, an exchange of one of them "+
		"was refused. The users are of another tenant, and have no grace period:",
		len(d.took), k.rows, ms(first), ms(l.p50), ms(l.p99))
	b.report.table(series.table(variants, quiet, deleteUsers))
	b.report.figure("admin delete", first.Seconds()*1e3)
	b.report.figure("admin delete exchange", series.ratio(deleting, quiet, deleteUsers, p99))
	return s.Forget()
}

// deletion deletes the tenant of a bulk.
type deletion struct {
	service *service
	bulk    *bulk
	took    []time.Duration
	checked int // the number of the last session whose exchange was refused
}

// neighbours returns users of another tenant.
func (d *deletion) neighbours(ctx context.Context, n int) (users []*user, err error) {
	if err := d.create(ctx, neighbour); err != nil {
		return nil, err
	}
	for i := range n {
		r, err := rig.Request{
			Method: http.MethodPost, Path: "/jwt/issue", Key: operatorKey, Tenant: neighbour,
			Body: fmt.Sprintf(`{"applicationsId": %q, "userId": "user-%d"}`, application, i),
		}.Do(ctx, rig.Client, d.service.API)
		if err != nil {
			return nil, err
		}
		g, err := parseGrant(r.Status, r.Body)
		if err != nil {
			return nil, err
		}
		u, err := newUser(d.service.API, string(g.tokenString), string(g.id))
		if err != nil {
			return nil, err
		}
		users = append(users, u)
	}
	return users, nil
}

// create creates a tenant with an application. An exchange rotates without a grace period.
func (d *deletion) create(ctx context.Context, id string) error {
	const configuration = `{"jwtConfiguration": {"refreshTokenOneTimeUseConfiguration": {"gracePeriodInSeconds": 0}}}`
	if err := d.service.operate(ctx, http.StatusCreated, http.MethodPost, "/tenant/"+id, "", configuration); err != nil {
		return err
	}
	return d.service.operate(ctx, http.StatusCreated, http.MethodPost, "/application/"+application, id, `{}`)
}

// operate sends a request of an operator, and expects a status.
func (s *service) operate(ctx context.Context, want int, method, path, tenant, body string) error {
	request := rig.Request{Method: method, Path: path, Key: operatorKey, Tenant: tenant, Body: body}
	r, err := request.Do(ctx, rig.Client, s.API)
	if err == nil && r.Status != want {
		err = fmt.Errorf("%s %s: got %s, want status %d", method, path, r, want)
	}
	return err
}

// refused fails if the next session of the bulk is active.
func (d *deletion) refused(ctx context.Context) error {
	d.checked = d.checked%d.bulk.rows + 1
	presented := d.bulk.key.Mint(bulkID(d.checked), d.bulk.generation).Reveal()
	return d.service.operate(ctx, http.StatusBadRequest, http.MethodPost, "/jwt/refresh", "",
		`{"refreshToken":"`+presented+`"}`)
}

// repeat deletes the tenant and creates it again until stop is called, which waits for the last creation.
func (d *deletion) repeat(ctx context.Context) (stop func() error) {
	ended, stopped := make(chan error, 1), make(chan struct{})
	go func() {
		for {
			if err := d.once(ctx); err != nil {
				ended <- err
				return
			}
			select {
			case <-stopped:
				ended <- nil
				return
			default:
			}
		}
	}()
	return func() error {
		close(stopped)
		return <-ended
	}
}

func (d *deletion) once(ctx context.Context) error {
	begin := time.Now()
	if err := d.service.operate(ctx, http.StatusOK, http.MethodDelete, "/tenant/"+tenant, "", ""); err != nil {
		return err
	}
	d.took = append(d.took, time.Since(begin))
	if err := d.refused(ctx); err != nil {
		return err
	}
	if err := d.create(ctx, tenant); err != nil {
		return err
	}
	return d.refused(ctx)
}

func adminBeforePart(ctx context.Context, b *bench) error {
	b.report.section("Administration: exchanges, PostgreSQL")
	_, err := b.besideOlder(ctx, "administration", "admin")
	return err
}

// besideOlder compares exchanges with those of the older program. prefix begins the names of the figures. It returns
// both sides: this program's first.
func (b *bench) besideOlder(ctx context.Context, what, prefix string) ([]*beforeSide, error) {
	if b.baseName == "" {
		return nil, errors.New("name the older program with -base")
	}
	var (
		sides    []*beforeSide
		variants []variant
	)
	for i, name := range []string{"now", b.baseName} {
		how := setup{program: []rig.Program{b.program, b.base}[i], mode: asItComes, policy: es256}
		side, err := b.beforeOnPostgres(ctx, how, name)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		sides = append(sides, side)
		variants = append(variants, variant{name: "exchange, " + name, run: func(n int) (run, error) {
			return side.contends.run(ctx, b.plan.window, n)
		}})
	}
	s, err := b.turns("exchanges, "+what, b.plan.exchangeRounds, variants, beforeUsers)
	if err != nil {
		return nil, err
	}
	hot, err := b.beforeHot(ctx, sides)
	if err != nil {
		return nil, err
	}
	now, before := variants[0].name, variants[1].name
	more := difference(s, now, before, beforeUsers, objects)
	b.report.say("%d rounds. An exchange allocates %s objects more than before.", b.plan.exchangeRounds,
		figures.Format(more, "%.1f"))
	b.report.table(s.table(variants, before, beforeUsers))
	b.report.figure(prefix+" exchange", s.ratio(now, before, beforeUsers, perSecond))
	b.report.figure(prefix+" objects", more)
	b.report.figure(prefix+" hot", hot)
	return sides, nil
}

// adminTargets are the targets of adminParts.
var adminTargets = []target{
	atMost("admin lists", 50, "%.1f ms", "PostgreSQL, lists of the administration and of sessions: worst p99"),
	atMost("admin delete", 100, "%.1f ms", "PostgreSQL: first deletion of a tenant with many sessions"),
	atMost("admin delete exchange", 2, "%.2f", "exchanges of another tenant: p99 while tenants are deleted / without"),
	atLeast("admin exchange", .92, "%.2f", "PostgreSQL, 32 users: exchanges / of the older program"),
	atMost("admin objects", 2, "%.1f", "PostgreSQL: objects allocated per exchange more than by the older program"),
	atLeast("admin hot", .99, "%.4f", "PostgreSQL: share of HOT updates of exchanges"),
}
