package gormstore_test

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/refreshd/refreshd/adapter/gormstore"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/test/support/postgres"
)

// finding returns the finding of that check.
func finding(t *testing.T, all []gormstore.Finding, err error, check string) gormstore.Finding {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		if f.Check == check {
			return f
		}
	}
	t.Fatalf("no finding of %q in %+v", check, all)
	return gormstore.Finding{}
}

// wantFinding examines the database, and checks the finding of that check. A problem has advice, and only a problem.
func wantFinding(t *testing.T, dsn domain.Secret, check, status string, says ...string) {
	t.Helper()
	all, err := gormstore.ExaminePostgres(t.Context(), dsn, time.Now)
	judge(t, finding(t, all, err, check), status, says...)
}

func judge(t *testing.T, f gormstore.Finding, status string, says ...string) {
	t.Helper()
	if f.Status != status || (f.Advice == "") != (status == "ok") {
		t.Errorf("got %+v, want %s", f, status)
	}
	for _, want := range says {
		if !strings.Contains(f.Detail+"\n"+f.Advice, want) {
			t.Errorf("got %+v, want it to say %q", f, want)
		}
	}
}

// The advice is what mends the finding: an operator pastes it.
func TestPostgresTheDoctorNamesTheGrantThatIsMissing(t *testing.T) {
	t.Parallel()
	dsn := postgres.NewDatabase(t)
	role, as, owner := newRole(t, dsn)
	s := must(gormstore.OpenPostgres(t.Context(), domain.NewSecret(dsn), gormstore.Options{}))(t)
	defer s.Close()
	if err := s.Migrate(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	execute(t, owner, `GRANT SELECT, INSERT, UPDATE, DELETE ON `+strings.Join(gormstore.WrittenTables, ", ")+` TO `+role,
		`GRANT SELECT ON goose_db_version TO `+role)
	const check = "database privileges"
	grant := "GRANT SELECT ON schema_compatibility TO " + role + ";"
	wantFinding(t, as, check, "failed", "lacks SELECT on schema_compatibility", "run "+grant)
	execute(t, owner, grant)
	wantFinding(t, as, check, "ok")
	execute(t, owner, `REVOKE DELETE, UPDATE ON marks FROM `+role)
	wantFinding(t, as, check, "failed", "GRANT DELETE, UPDATE ON marks TO "+role+";")
	execute(t, owner, `REVOKE USAGE ON SCHEMA public FROM PUBLIC`)
	wantFinding(t, as, check, "failed", "GRANT USAGE ON SCHEMA public TO "+role)

	wantFinding(t, as, "database role", "ok")
	wantFinding(t, domain.NewSecret(dsn), "database role", "warning", "is a superuser")
	wantFinding(t, as, "database pooler", "ok")
	wantFinding(t, as, "session settings", "ok")
	wantFinding(t, as, "database encryption", "ok")
	// The second host is not asked while the first one serves.
	u := must(url.Parse(dsn))(t)
	u.Host += ",db.invalid:5432"
	wantFinding(t, domain.NewSecret(u.String()), "database encryption", "warning", "db.invalid", "sslmode=verify-full")
	wantFinding(t, as, "database version", "ok", "PostgreSQL ")
}

// A process whose clock differs purges nothing, and says so only in its log.
func TestPostgresTheDoctorComparesTheClocks(t *testing.T) {
	t.Parallel()
	dsn := domain.NewSecret(postgres.NewDatabase(t))
	for offset, want := range map[time.Duration]string{
		0: "ok", 20 * time.Second: "warning", -20 * time.Second: "warning", 10 * time.Minute: "failed",
		-10 * time.Minute: "failed",
	} {
		all, err := gormstore.ExaminePostgres(t.Context(), dsn, func() time.Time { return time.Now().Add(offset) })
		if got := finding(t, all, err, "database clock"); got.Status != want || (got.Advice == "") != (want == "ok") {
			t.Errorf("offset %s: got %+v, want %s", offset, got, want)
		}
	}
}

func TestTheDoctorWarnsOfAServerThatIsOlderThanTheTests(t *testing.T) {
	judge(t, gormstore.VersionFinding("14.11", 14_0011), "warning", "14.11", "15")
	judge(t, gormstore.VersionFinding("15.4", 15_0004), "ok", "15.4")
	judge(t, gormstore.VersionFinding("18.0", 18_0000), "ok", "18.0")
}

// A pooler whose settings do not fit makes the service fail under load, and only then.
func TestPostgresTheDoctorExaminesThePooler(t *testing.T) {
	t.Parallel()
	dsn := postgres.NewDatabase(t)
	exec := behind(t, dsn, "default_query_exec_mode=exec", transactionMode, postgres.PassOver)
	wantFinding(t, exec, "session settings", "failed", "lock_timeout", "ALTER ROLE … SET lock_timeout = '1s'", "RECONNECT")
	asRole(t, dsn)
	exec = behind(t, dsn, "default_query_exec_mode=exec", transactionMode, postgres.PassOver)
	wantFinding(t, exec, "session settings", "ok")
	wantFinding(t, exec, "database pooler", "ok", "there is one")
	prepared := behind(t, dsn, "", transactionMode, postgres.PassOver)
	wantFinding(t, prepared, "database pooler", "failed", "transaction mode", "default_query_exec_mode=exec")
	session := behind(t, dsn, "", "pool_mode = session", postgres.PassOver)
	wantFinding(t, session, "database pooler", "warning", "session mode")
}

func TestPostgresTheDoctorWarnsOfALongTransaction(t *testing.T) {
	t.Parallel()
	dsn := postgres.NewDatabase(t)
	_, _, owner := newRole(t, dsn)
	tx := must(owner.BeginTx(t.Context(), nil))(t)
	defer tx.Rollback()
	var id int64
	if err := tx.QueryRowContext(t.Context(), `SELECT txid_current()`).Scan(&id); err != nil {
		t.Fatal(err)
	}
	all, err := gormstore.ExamineStrictly(t.Context(), domain.NewSecret(dsn))
	judge(t, finding(t, all, err, "long transactions"), "warning", "pg_stat_activity")
}

// The address of a database may be wrong, and an operator looks for the reason. No message repeats the password.
func TestPostgresTheDoctorReturnsAnErrorWithoutADatabase(t *testing.T) {
	const secret = "hunter2"
	for _, dsn := range []string{"postgres://u:" + secret + "@h:x/d", "postgres://u:" + secret + "@127.0.0.1:1/d"} {
		all, err := gormstore.ExaminePostgres(t.Context(), domain.NewSecret(dsn), time.Now)
		if err == nil || len(all) > 0 || strings.Contains(err.Error(), secret) {
			t.Errorf("got %v and the error %v, want an error without the password", all, err)
		}
	}
}

// A fail-over to a standby without the last commits takes from clients what they have seen.
func TestPostgresTheDoctorSaysWhatAFailOverLoses(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	u := url.URL{Scheme: "postgres", User: url.User("postgres"), Host: p.primary.Address(), Path: "/postgres",
		RawQuery: "sslmode=disable"}
	dsn := domain.NewSecret(u.String())
	// The server reloads its settings, and notices that a standby has stopped, some time later.
	await := func(check, status string, says ...string) {
		t.Helper()
		deadline := time.Now().Add(stuck)
		for {
			all, err := gormstore.ExaminePostgres(t.Context(), dsn, time.Now)
			f := finding(t, all, err, check)
			if f.Status == status || time.Now().After(deadline) {
				judge(t, f, status, says...)
				return
			}
		}
	}
	set := func(name, value string) {
		t.Helper()
		execute(t, p.admin, `ALTER SYSTEM SET `+name+` = '`+value+`'`, `SELECT pg_reload_conf()`)
	}
	await("standbys", "ok", "synchronous: ")
	await("replication lag", "ok")

	standby := closing(t, stdlib.OpenDB(*must(pgx.ParseConfig("postgres://postgres@" + p.standby.Address() +
		"/postgres?sslmode=disable"))(t)))
	execute(t, standby, `SELECT pg_wal_replay_pause()`)
	issue(t, p.store, 1)
	for deadline := time.Now().Add(stuck); ; {
		all, err := gormstore.ExamineStrictly(t.Context(), dsn)
		if f := finding(t, all, err, "replication lag"); f.Status == "warning" || time.Now().After(deadline) {
			judge(t, f, "warning", "has not replayed")
			break
		}
	}
	execute(t, standby, `SELECT pg_wal_replay_resume()`)

	set("synchronous_commit", "off")
	await("standbys", "warning", "synchronous_commit is off", "set synchronous_commit = on", "revoked are active again")
	set("synchronous_commit", "remote_write")
	await("standbys", "warning", "remote_write")
	set("synchronous_commit", "local")
	await("standbys", "warning", "is asynchronous", "now local")
	set("synchronous_commit", "on")
	await("standbys", "ok")
	execute(t, p.admin, `CREATE ROLE looks LOGIN`)
	u.User = url.User("looks")
	wantFinding(t, domain.NewSecret(u.String()), "standbys", "warning", "GRANT pg_read_all_stats TO looks")
	if err := p.standby.Kill(); err != nil {
		t.Fatal(err)
	}
	await("standbys", "failed", "commits wait", "start the standby")
	set("synchronous_standby_names", "")
	await("standbys", "ok", "none is connected")
	if err := p.standby.Start(); err != nil {
		t.Fatal(err)
	}
	await("standbys", "warning", "is asynchronous", "synchronous_standby_names", `OPERATING.md, "Fail over"`)
}
