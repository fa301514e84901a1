package documents

import (
	"database/sql"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib"
	_ "modernc.org/sqlite"

	"github.com/refreshd/refreshd/adapter/manifest"
	"github.com/refreshd/refreshd/cmd/run"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/test/support/postgres"
)

// applied runs the commands on the database, of which the last one applies the example of CONFIGURATION.md.
func applied(t *testing.T, url string, commands ...[]string) {
	t.Helper()
	file := filepath.Join(writeFiles(t, map[string]string{"kickstart.yaml": manifest.Example}), "kickstart.yaml")
	for _, args := range append(commands, []string{"apply", "-f", file}) {
		o := run.Options{Args: args, Stdout: io.Discard, Stderr: io.Discard, Environ: []string{
			"REFRESHD_DATABASE_URL=" + url, "REFRESHD_MASTER_KEY=" + masterKey,
			"BACKEND_KEY=" + backendKey,
		}}
		if err := run.Run(t.Context(), o); err != nil {
			t.Fatalf("%s: %v", args[0], err)
		}
	}
}

// wantsTheTenantsEvents fails the test unless the query finds who made the tenant of the example.
func wantsTheTenantsEvents(t *testing.T, db *sql.DB, query string) {
	t.Helper()
	defer db.Close()
	rows, err := db.QueryContext(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for rows.Next() {
		values := make([]sql.NullString, len(columns))
		into := make([]any, len(columns))
		for i := range values {
			into[i] = &values[i]
		}
		if err := rows.Scan(into...); err != nil {
			t.Fatal(err)
		}
		value := func(column string) string { return values[slices.Index(columns, column)].String }
		if !strings.HasPrefix(value("time"), "20") {
			t.Errorf("the time is %q", value("time"))
		}
		found = append(found, strings.Join([]string{
			value("kind"), value("actor_kind"), value("actor_name"), value("object_id"),
		}, " "))
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	if want := "tenant.created kickstart kickstart.yaml acme"; !slices.Contains(found, want) {
		t.Errorf("got %q, want %q among them", found, want)
	}
}

// auditQuery is the query of the document that begins with that comment.
func auditQuery(t *testing.T, comment string) string {
	t.Helper()
	for _, query := range blocksOf(t, "Read the audit trail", "sql", 2) {
		if strings.HasPrefix(query, comment) {
			return query
		}
	}
	t.Fatalf("no query begins with %q", comment)
	return ""
}

func TestTheAuditQueryForSQLiteFindsWhoDidIt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "refreshd.db")
	applied(t, "sqlite:"+path)
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	wantsTheTenantsEvents(t, db, auditQuery(t, "-- SQLite"))
}

func TestTheAuditQueryForPostgreSQLFindsWhoDidIt(t *testing.T) {
	url := postgres.NewDatabase(t)
	applied(t, url, []string{"migrate"})
	db, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	wantsTheTenantsEvents(t, db, auditQuery(t, "-- PostgreSQL"))
}

// A reader of the trail meets each of these words.
func TestTheDocumentListsEveryKindOfEventAndActor(t *testing.T) {
	text, err := section("OPERATING.md", "Read the audit trail")
	if err != nil {
		t.Fatal(err)
	}
	var words []string
	for _, k := range domain.EventKinds {
		words = append(words, string(k))
	}
	for _, k := range []domain.ActorKind{
		domain.ActorAPIKey, domain.ActorOwner, domain.ActorClient, domain.ActorKickstart, domain.ActorService,
		domain.ActorOperator,
	} {
		words = append(words, string(k))
	}
	for _, word := range words {
		if !strings.Contains(text, "`"+word+"`") {
			t.Errorf("OPERATING.md does not list %s", word)
		}
	}
	listed := regexp.MustCompile("`[a-zA-Z]+\\.[a-z]+`")
	for _, word := range listed.FindAllString(text, -1) {
		if !slices.Contains(words, strings.Trim(word, "`")) {
			t.Errorf("OPERATING.md lists %s, which is no kind of event", word)
		}
	}
}

// metricNames are those that a text names whole; the names of series of a histogram are its own.
func metricNames(text string) (names []string) {
	name := regexp.MustCompile(`refreshd_[a-z_]+[a-z]`)
	for _, n := range name.FindAllString(text, -1) {
		names = append(names, strings.TrimSuffix(n, "_count"))
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// A dashboard of names that do not exist is empty, and looks calm.
func TestDocumentsNameMetricsThatExist(t *testing.T) {
	source, err := os.ReadFile("../../adapter/metrics/metrics.go")
	if err != nil {
		t.Fatal(err)
	}
	var known []string
	for _, m := range regexp.MustCompile(`"(refreshd_[a-z_]+[a-z])"`).FindAllSubmatch(source, -1) {
		known = append(known, string(m[1]))
	}
	for _, m := range regexp.MustCompile(`(?:gauge|counter)\("([a-z_]+)"`).FindAllSubmatch(source, -1) {
		known = append(known, "refreshd_pool_"+string(m[1]))
	}
	text, err := section("OPERATING.md", "Monitor")
	if err != nil {
		t.Fatal(err)
	}
	rows := regexp.MustCompile("(?m)^\\| `(refreshd_[a-z_]+)` \\| (?:gauge|counter|histogram)")
	var listed []string
	for _, row := range rows.FindAllStringSubmatch(text, -1) {
		listed = append(listed, row[1])
	}
	slices.Sort(known)
	slices.Sort(listed)
	if !slices.Equal(listed, known) {
		t.Errorf("the table of OPERATING.md has\n%q, want\n%q", listed, known)
	}
	files, err := filepath.Glob("../../*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range metricNames(string(text)) {
			if !slices.Contains(known, name) {
				t.Errorf("%s names %s, which is no metric", filepath.Base(file), name)
			}
		}
	}
}
