package e2e_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const administered = `tenants:
  - id: acme
    name: Acme
    applications:
      - {id: shop, name: Shop}
      - {id: bulk, name: Bulk}
apiKeys:
  - name: acme
    key: ${ACME_KEY}
    tenantId: acme
    permissions: {endpoints: {"*": ["*"]}}
  - name: root
    key: ${READER_KEY}
    permissions:
      endpoints:
        "*": ["*"]
        /sessions: ["*"]
        /tenant: ["*"]
        /application: ["*"]
        /api-key: ["*"]
        /key: ["*"]
        /audit: ["*"]
`

// line is a command line of administration, and its result: on the database and on a service the same.
type line struct {
	args   string // a word in braces is replaced
	status int    // -1 for a refusal whose reason is the service's; -2 for a success whose output differs
	prints string
	says   string // on stderr, in part
}

const notConfirmed = "this needs a confirmation, and the input is not a terminal: add --yes"

var lines = []line{
	{args: "tenant list", prints: "ID\tNAME\tISSUER\nacme\tAcme\t\n"},
	{args: "tenant create globex --set=name=Globex",
		prints: "id\tglobex\nname\tGlobex\nversion\t1\n"},
	{args: "tenant create globex --set=name=Globex", status: 4, says: "id: "},
	{args: "tenant show globex -o yaml", prints: "id: globex\nname: Globex\n"},
	{args: "tenant update globex --set=issuer=https://globex.example --if-match=1",
		prints: "id\tglobex\nname\tGlobex\nissuer\thttps://globex.example\nversion\t2\n"},
	{args: "tenant update globex --set=name=Other --if-match=1", status: 4,
		says: "the tenant globex has changed since version 1: show it again, and repeat the change"},
	{args: "tenant update globex --set=name=null -o json",
		prints: "{\n  \"id\": \"globex\",\n  \"issuer\": \"https://globex.example\"\n}\n"},
	{args: "tenant update globex --set=nme=Globex", status: 4, says: "nme: "},
	{args: "tenant show initech", status: 3, says: "there is no tenant initech"},
	{args: "tenant list --tenant=initech", status: -1},

	{args: "application list --tenant=acme", prints: "ID\tNAME\nbulk\tBulk\nshop\tShop\n"},
	{args: "application create web --tenant=globex --set=cookieOnly=false",
		prints: "id\tweb\ncookieOnly\tfalse\nversion\t4\n"},
	{args: "application show web --tenant=globex -o json", prints: "{\n  \"id\": \"web\",\n  \"cookieOnly\": false\n}\n"},
	{args: "application show web --tenant=acme", status: 3, says: "there is no application web in the tenant acme"},
	{args: "application show web", status: 2, says: "name the tenant with --tenant ID"},
	{args: "application delete web --tenant=globex", status: 2, says: notConfirmed},
	{args: "application delete web --tenant=globex --yes", prints: "deleted the application web\n"},

	{args: "token list --tenant=acme --user=alice",
		prints: "ID\tAPPLICATION\tUSER\tSTATE\tCREATED\tLAST USED\tEXPIRES\n" +
			"{id}\tshop\talice\tactive\t{time}\t{time}\t{time}\n"},
	{args: "token list --tenant=acme --state=ended -o json", prints: "[]\n"},
	{args: "token revoke --tenant=acme {alice}", prints: "revoked the refresh token {id}\n"},
	{args: "token revoke --tenant=acme {alice}", status: 3, says: "there is no active refresh token "},
	{args: "token list --tenant=acme --state=ended --user=alice",
		prints: "ID\tAPPLICATION\tUSER\tSTATE\tCREATED\tLAST USED\tEXPIRES\n" +
			"{id}\tshop\talice\tended\t{time}\t{time}\t{time}\n"},
	{args: "token revoke --tenant=acme --user=bob", status: 2, says: notConfirmed},
	{args: "token revoke --tenant=acme --application=bulk", status: 2, says: notConfirmed},
	{args: "token revoke --tenant=acme --all-in-tenant", status: 2, says: notConfirmed},
	{args: "token revoke --tenant=acme --user=bob --dry-run",
		prints: "would revoke 2 active refresh tokens (dry run: nothing was written)\n"},
	{args: "token revoke --tenant=acme --user=bob --except={bob} --dry-run",
		prints: "would revoke 1 active refresh tokens (dry run: nothing was written)\n"},
	{args: "token revoke --tenant=acme --user=bob --except={bob} --yes",
		prints: "revoked the refresh tokens of the user bob but {id}: 1 active refresh tokens\n"},
	{args: "token revoke --tenant=acme --user=bbo --yes", says: "check the ids of --tenant, --user and --application",
		prints: "revoked the refresh tokens of the user bbo: 0 active refresh tokens\n"},
	{args: "token revoke --tenant=acme --user=bob --dry-run -o json",
		prints: "{\n  \"dryRun\": true,\n  \"refreshTokens\": \"1\"\n}\n"},
	{args: "application delete bulk --tenant=acme --dry-run",
		prints: "would revoke 1 active refresh tokens (dry run: nothing was written)\n"},
	{args: "application delete bulk --tenant=acme --yes", prints: "deleted the application bulk\n"},
	{args: "token revoke --tenant=acme --all-in-tenant --dry-run",
		prints: "would revoke 1 active refresh tokens (dry run: nothing was written)\n"},
	{args: "token revoke --tenant=acme --all-in-tenant --yes",
		prints: "revoked all refresh tokens of the tenant acme: 1 active refresh tokens\n"},
	{args: "token list --tenant=acme", prints: "ID\tAPPLICATION\tUSER\tSTATE\tCREATED\tLAST USED\tEXPIRES\n"},

	{args: "apikey create --set=name=backend --set=tenantId=acme --set=permissions.endpoints={/jwt/issue:[POST]}",
		status: 4, says: "permissions"}, // YAML needs a space after a colon: the whole is a name
	{args: "apikey create --set=name=backend --set=tenantId=acme --set=permissions.endpoints./jwt/issue=[POST]",
		prints: "{key}\n", says: "created the API key backend"},
	{args: "apikey list --tenant=acme",
		prints: "ID\tNAME\tTENANT\tEXPIRES\tPREVIOUS KEY\n{id}\tacme\tacme\t\tfalse\n{id}\tbackend\tacme\t\tfalse\n"},
	{args: "apikey rotate backend", prints: "{key}\n", says: "rotated the API key backend"},
	{args: "apikey show backend", prints: "id\t{id}\nname\tbackend\ntenantId\tacme\n" +
		"permissions.endpoints./jwt/issue\tPOST\nhasPreviousKey\ttrue\nversion\t2\n"},
	{args: "apikey rotate backend", status: 4, says: "key: the previous key is still valid, and would end: "},
	{args: "apikey end-previous backend", prints: "ended the previous text of the API key backend\n"},
	{args: "apikey end-previous backend",
		prints: "the API key backend has no previous text: nothing was changed\n"},
	{args: "apikey update backend --set=expiresAt=2090-01-31T12:00:00Z --if-match=3 -o yaml",
		prints: "id: {id}\nname: backend\ntenantId: acme\npermissions:\n  endpoints:\n    /jwt/issue:\n      - POST\n" +
			"expiresAt: \"2090-01-31T12:00:00Z\"\nhasPreviousKey: false\n"},
	{args: "apikey delete backend", prints: "deleted the API key backend\n"},
	{args: "apikey show backend", status: 3, says: "there is no API key backend"},
	{args: "key list --tenant=initech", status: -1},
	{args: "key generate next --tenant=acme --algorithm=PS256 --bits=3072 --name=Next --starts=never",
		prints: "id\tnext\nkind\tsigning\ntenantId\tacme\nalgorithm\tPS256\nnumber\t1\nname\tNext\nstate\tstandby\n" +
			"insertInstant\t{time}\nstartsInstant\t9999-12-31T00:00:00Z\nsealedBy\t{master}\n" +
			"timeline.made\t{time}\ntimeline.known\t{time}\n"},
	{args: "key generate next --tenant=acme --algorithm=PS256", status: 4, says: "id: a key has this id"},
	{args: "key generate --tenant=acme --algorithm=ES256 --bits=2048", status: 4, says: "bits: use 2048, 3072 or 4096"},
	{args: "key generate --algorithm=RS256 --now", status: 4, says: "--force does it"},
	{args: "key import --tenant=acme -f /dev/null", status: 4, says: "privateKey: is empty"},
	{args: "key update next --name=Standby -o json", status: -2},
	{args: "key update none --name=x", status: 3, says: "there is no key none"},
	{args: "key list --tenant=globex", status: -2},
	{args: "key rotate --tenant=initech --algorithm=ES256", status: -1},
	{args: "key rotate --kind=token", status: -2},
	{args: "key rotate --kind=api", status: -2},
	{args: "key rotate --kind=api", status: 4, says: "retire api-1 first"},
	{args: "key retire token-2", status: 4, says: "rotate first"},
	{args: "key retire next --dry-run", status: -2, says: "It would retire the key next (dry run"},
	{args: "key revoke next", status: 2, says: notConfirmed},
	{args: "key revoke none --yes", status: 3, says: "there is no key none"},
	{args: "key revoke check-1 --yes", status: 4, says: "the check value of the master key is not revoked"},
	{args: "key revoke next --yes", status: -2},
	{args: "key retire next", status: 4, says: "the key is revoked"},
	{args: "key reseal", prints: "sealed 0 keys; the master key is in force\n"},
	{args: "__complete key show n", prints: "next\n:4\n"},
	{args: "tenant delete globex", status: 2, says: notConfirmed},
	{args: "tenant delete globex --dry-run",
		prints: "would revoke 0 active refresh tokens (dry run: nothing was written)\n"},
	{args: "tenant delete globex --yes", prints: "deleted the tenant globex\n"},
	{args: "tenant list", prints: "ID\tNAME\tISSUER\nacme\tAcme\t\n"},
}

var (
	aMaster = regexp.MustCompile(`\b[0-9a-f]{16}\b`)
	anID    = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)
	aTime   = regexp.MustCompile(`20[0-7][0-9]-[0-9]{2}-[0-9]{2}T[0-9:.]+Z`)
	anAPIK  = regexp.MustCompile(`ak_[A-Za-z0-9_-]{24,}`)
)

// stable replaces what differs from run to run.
func stable(printed string) string {
	printed = anID.ReplaceAllString(printed, "{id}")
	printed = aMaster.ReplaceAllString(printed, "{master}")
	printed = aTime.ReplaceAllString(printed, "{time}")
	return anAPIK.ReplaceAllString(printed, "{key}")
}

// The command line of administration does the same on the database and on a running service.
func TestTheCommandLineAdministersADatabaseAndAService(t *testing.T) {
	for _, where := range []string{"database", "service"} {
		t.Run(where, func(t *testing.T) {
			eachDatabase(t, func(t *testing.T, d database) {
				s := start(t, d, settings{kickstart: administered})
				ids := strings.NewReplacer(
					"{alice}", s.issue(t, "alice", "shop").RefreshTokenID, "{bob}", s.issue(t, "bob", "shop").RefreshTokenID,
				)
				s.issue(t, "bob", "bulk")
				s.issue(t, "carol", "bulk")
				with, on := settings{noKickstart: true}, d
				if where == "service" {
					// The database is one that cannot be opened: only the service is used.
					with.env = []string{"REFRESHD_SERVER=" + s.URL(), "REFRESHD_API_KEY=" + readerKey}
					on.url = "sqlite:/does/not/exist/refreshd.db"
				}
				for _, l := range lines {
					got := runVerb(t, on, with, strings.Fields(ids.Replace(l.args))...)
					switch {
					case l.status == -1: // refused, and the reason is the service's
						if got.Status == 0 || got.Stdout != "" {
							t.Errorf("refreshd %s: %v", l.args, got)
						}
						continue
					case l.status == -2: // done, and what it prints is tested elsewhere
						if got.Status != 0 || got.Stdout == "" || !strings.Contains(got.Stderr, l.says) {
							t.Errorf("refreshd %s: %v", l.args, got)
						}
						continue
					case got.Status != l.status || !strings.Contains(got.Stderr, l.says):
						t.Errorf("refreshd %s: %v\nwant status %d, and %q", l.args, got, l.status, l.says)
					}
					if diff := cmp.Diff(l.prints, stable(got.Stdout)); diff != "" {
						t.Errorf("refreshd %s (-want +got):\n%s", l.args, diff)
					}
				}
				if where == "service" { // the same file as from the database
					want, got := runVerb(t, d, settings{noKickstart: true}, "export"), runVerb(t, on, with, "export")
					if diff := cmp.Diff(want.Stdout, got.Stdout); diff != "" || got.Status != 0 ||
						got.Stderr != "This is the configuration of "+s.URL()+".\n"+want.Stderr {
						t.Errorf("export: %v, the same without --server: %v (-database +service):\n%s", got, want, diff)
					}
				}
				keys := runVerb(t, on, with, "key", "list")
				kinds := []string{}
				for row := range strings.Lines(keys.Stdout) {
					kinds = append(kinds, strings.Split(row, "\t")[1])
				}
				for _, kind := range []string{"KIND", "token", "api", "signing"} {
					if !slices.Contains(kinds, kind) {
						t.Errorf("key list has no %s: %v", kind, keys)
					}
				}
				whoDidIt(t, d, map[string]string{"database": "operator", "service": "apiKey"}[where])
			})
		})
	}
}

// whoDidIt checks the actor of each event of the command lines.
func whoDidIt(t *testing.T, d database, want string) {
	t.Helper()
	rows, err := d.open(t).Query(`SELECT kind, actor_kind, actor_name FROM events WHERE actor_kind <> 'kickstart'
		AND actor_kind <> 'service' AND kind <> 'key.added'`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	n := 0
	for ; rows.Next(); n++ {
		var kind, actor, name string
		if err := rows.Scan(&kind, &actor, &name); err != nil {
			t.Fatal(err)
		}
		if actor != want || name == "" {
			t.Errorf("%s: the actor is %s %q, want %s with a name", kind, actor, name, want)
		}
	}
	if err := rows.Err(); err != nil || n < 12 {
		t.Errorf("%d events, %v", n, err)
	}
}
