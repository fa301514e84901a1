package e2e_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/refreshd/refreshd/test/support/rig"
)

// files returns what is below dir, with mode and hash. It leaves out a database's -shm, which opening alone changes.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || strings.HasSuffix(path, "-shm") {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		text, err := os.ReadFile(path)
		all[strings.TrimPrefix(path, dir)] = fmt.Sprintf("%s %x", info.Mode(), sha256.Sum256(text))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// refusedStart checks that serve ends by itself, with each of words, and leaves the store and its directory unchanged.
func refusedStart(t *testing.T, d database, s settings, words ...string) {
	t.Helper()
	before, onDisk := d.dump(t), files(t, d.dir)
	got := runVerb(t, d, s, "serve")
	if got.Status == 0 {
		t.Fatalf("serve ended with status 0: %s", got)
	}
	for _, word := range words {
		if !strings.Contains(got.Stderr, word) {
			t.Errorf("it does not say %q: %s", word, got)
		}
	}
	if lines := strings.Count(strings.TrimSpace(got.Stderr), "\n"); lines > 12 ||
		strings.Contains(got.Stderr, "goroutine ") {
		t.Errorf("that is not a clear refusal: %s", got)
	}
	if diff := cmp.Diff(before, d.dump(t)); diff != "" {
		t.Errorf("the store changed (-before +after):\n%s", diff)
	}
	if diff := cmp.Diff(onDisk, files(t, d.dir)); diff != "" {
		t.Errorf("files changed (-before +after):\n%s", diff)
	}
}

func TestAMasterKeyThatIsGoneOrWrongRefusesTheStart(t *testing.T) {
	t.Run(sqlite, func(t *testing.T) {
		d := newDatabase(t, sqlite)
		s := start(t, d, settings{})
		g := s.issue(t, "alice", "shop")
		s.Stop()
		path := filepath.Join(filepath.Dir(d.path()), "master.key")
		right := remember("master key", strings.TrimSpace(read(t, path)))
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %s, want 0600 (%v)", path, info.Mode(), err)
		}
		aside := filepath.Join(t.TempDir(), "aside")
		if err := os.Rename(path, aside); err != nil {
			t.Fatal(err)
		}
		refusedStart(t, d, settings{}, "master.key does not exist", "nothing was changed")
		refusedStart(t, d, settings{env: []string{"REFRESHD_MASTER_KEY=" + newMasterKey()}}, "master key")
		refusedStart(t, d, settings{env: []string{"REFRESHD_MASTER_KEY=tooshort"}}, "REFRESHD_MASTER_KEY")
		refusedStart(t, d, settings{env: []string{"REFRESHD_MASTER_KEY_FILE=/nowhere/key"}},
			"REFRESHD_MASTER_KEY_FILE names a file that cannot be read")
		refusedStart(t, d, settings{env: []string{"REFRESHD_MASTER_KEY=" + right, "REFRESHD_MASTER_KEY_FILE=" + aside}},
			"REFRESHD_MASTER_KEY_FILE")
		if err := os.WriteFile(path, []byte(newMasterKey()+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		refusedStart(t, d, settings{}, "master key")
		if err := os.WriteFile(path, []byte("garbage\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		refusedStart(t, d, settings{}, "master key")
		if err := os.Rename(aside, path); err != nil {
			t.Fatal(err)
		}
		s.Restart()
		s.exchange(t, g.RefreshToken)
	})
	t.Run(postgreSQL, func(t *testing.T) {
		d := newDatabase(t, postgreSQL).migrated(t)
		without := d
		without.masterKey = ""
		refusedStart(t, without, settings{}, "REFRESHD_MASTER_KEY")
		s := start(t, d, settings{})
		g := s.issue(t, "alice", "shop")
		s.Stop()
		refusedStart(t, without, settings{}, "REFRESHD_MASTER_KEY")
		wrong := d
		wrong.masterKey = newMasterKey()
		refusedStart(t, wrong, settings{}, "master key")
		s.Restart()
		s.exchange(t, g.RefreshToken)

		// A change of the master key, as an operator does it.
		s.Stop()
		s.database, s.settings.env = wrong, append(s.settings.env, "REFRESHD_MASTER_KEY_PREVIOUS="+d.masterKey)
		s.run()
		if got := runVerb(t, wrong, s.settings, "key", "reseal"); got.Status != 0 {
			t.Fatalf("key reseal: %s", got)
		}
		s.Stop()
		s.settings.env = s.settings.env[:len(s.settings.env)-1]
		s.run()
		if got := generation(s.exchange(t, g.RefreshToken).RefreshToken); got != 2 {
			t.Errorf("a retry under the new master key leads to generation %d, want 2", got)
		}
		refusedStart(t, d, settings{}, "master key")
	})
}

func TestPostgreSQLIsMigratedByTheOperatorOnly(t *testing.T) {
	d := newDatabase(t, postgreSQL)
	db := d.open(t)
	count := `SELECT count(*)::text FROM pg_tables WHERE schemaname = 'public'`
	got := runVerb(t, d, settings{}, "serve")
	if got.Status == 0 || !strings.Contains(got.Stderr, "refreshd migrate") {
		t.Errorf("serve on an empty database: %s", got)
	}
	if n := queryText(t, db, count); n != "0" {
		t.Errorf("serve left %s tables", n)
	}
	if got := runVerb(t, d, settings{}, "apply", "-f", kickstartFile(t, "")); got.Status == 0 ||
		!strings.Contains(got.Stderr, "refreshd migrate") {
		t.Errorf("apply on an empty database: %s", got)
	}

	if got := runVerb(t, d, settings{}, "migrate", "--status"); got.Status != 1 ||
		!strings.Contains(got.Stdout, "pending 00001_") || queryText(t, db, count) != "0" {
		t.Errorf("migrate --status on an empty database: %s", got)
	}

	results := make([]rig.Result, 3)
	var group sync.WaitGroup
	for i := range results {
		group.Go(func() { results[i] = runVerb(t, d, settings{}, "migrate") })
	}
	group.Wait()
	for _, got := range results {
		if got.Status != 0 {
			t.Errorf("one of three that migrate concurrently: %s", got)
		}
	}
	if got := runVerb(t, d, settings{}, "migrate", "--status"); got.Status != 0 ||
		!strings.Contains(got.Stdout, "up to date") {
		t.Errorf("migrate --status afterwards: %s", got)
	}
	migrated := queryText(t, db, count)
	if got := runVerb(t, d, settings{}, "migrate"); got.Status != 0 || queryText(t, db, count) != migrated {
		t.Errorf("migrate again: %s", got)
	}
	if n := queryText(t, db, `SELECT count(*)::text FROM tenants`); n != "0" {
		t.Errorf("migrate left %s tenants", n)
	}

	s := start(t, d, settings{noKickstart: true})
	if n := queryText(t, db, `SELECT count(*)::text FROM tenants`); n != "0" {
		t.Errorf("serve made %s tenants by itself on PostgreSQL", n)
	}
	s.Stop()
	// A schema that is newer by additions serves; one that removed something does not.
	execute(t, db, `INSERT INTO goose_db_version (version_id, is_applied) VALUES (999, true)`)
	s.Restart()
	s.Stop()
	execute(t, db, `UPDATE schema_compatibility SET oldest_reader = 999`)
	refusedStart(t, d, settings{}, "newer")
}

// An API key in the output, and the file that contains one.
var (
	keyShown  = regexp.MustCompile(`ak_[A-Za-z0-9_-]{24,}`)
	keyInFile = regexp.MustCompile(`API_KEY=\$\(cat (\S+)\)`)
)

// tryCommands pastes the output of the first run into bash.
func tryCommands(t *testing.T, printed string) {
	t.Helper()
	_, commands, found := strings.Cut(printed, "Paste these commands into bash, in this order:")
	if !found {
		t.Fatalf("no commands in: %s", printed)
	}
	tourShows(t, pasted(t, t.TempDir(), commands))
}

// pasted returns what bash prints for commands in dir.
func pasted(t *testing.T, dir, commands string) (out string) {
	t.Helper()
	bash := exec.Command("bash", "-u")
	bash.Stdin = strings.NewReader(commands)
	bash.Dir = dir
	bash.Env = []string{"PATH=" + os.Getenv("PATH")}
	b, err := bash.CombinedOutput()
	if failed := (*exec.ExitError)(nil); err != nil && !errors.As(err, &failed) { // the last command may fail
		t.Fatalf("bash: %v\n%s", err, b)
	}
	return string(b)
}

// readmesTour returns the commands of README's tour, for the service at base.
func readmesTour(t *testing.T, base string) string {
	t.Helper()
	_, text, found := strings.Cut(read(t, "../../README.md"), "\n## A tour by curl\n")
	_, text, begins := strings.Cut(text, "\n```sh\n")
	commands, _, ends := strings.Cut(text, "\n```\n")
	const written = "BASE=http://127.0.0.1:3000\n"
	if !found || !begins || !ends || !strings.Contains(commands, written) {
		t.Fatal("README.md has no tour by curl that begins with the default address")
	}
	return strings.Replace(commands, written, "BASE="+base+"\n", 1) + "\n"
}

// tourShows checks what a tour printed: issue, exchange, retry, the comparison, list, revoke, and the refusal.
func tourShows(t *testing.T, out string) {
	t.Helper()
	var (
		lines []string
		err   error
	)
	for line := range strings.Lines(out) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	if len(lines) != 7 {
		t.Fatalf("the commands print %d lines, want 7:\n%s", len(lines), out)
	}
	answers := make([]grant, 3)
	for i := range answers {
		answers[i], err = answer{body: lines[i]}.grant()
		if err != nil || answers[i].RefreshToken == "" {
			t.Fatalf("line %d is %s: %v", i+1, lines[i], err)
		}
		remember("token string", answers[i].RefreshToken)
		remember("access token", answers[i].Token)
	}
	retried := answer{body: lines[2]}.steady() == answer{body: lines[1]}.steady()
	if generation(answers[0].RefreshToken) != 1 || generation(answers[1].RefreshToken) != 2 || !retried ||
		lines[3] != "the same response" {
		t.Errorf("issue, exchange, retry: %s", out)
	}
	if listed := (answer{body: lines[4]}).records(t); len(listed) != 1 || listed[0].Generation != 2 ||
		listed[0].ID != answers[0].RefreshTokenID {
		t.Errorf("list: %s", lines[4])
	}
	if !strings.Contains(lines[5], answers[0].RefreshTokenID) || !strings.Contains(lines[5], `"success":true`) {
		t.Errorf("revoke: %s", lines[5])
	}
	if codes := (answer{body: lines[6]}).codes(); len(codes) != 1 || codes[0] != "[revoked]refreshToken" {
		t.Errorf("the revoked token: %s", lines[6])
	}
}

func TestTheFirstRunShowsCommandsThatWork(t *testing.T) {
	for _, engine := range []string{memory, sqlite} {
		t.Run(engine, func(t *testing.T) {
			d := newDatabase(t, engine)
			if engine == sqlite {
				d.url = "sqlite:refreshd-data/refreshd.db" // the default
			}
			s := start(t, d, settings{noKickstart: true})
			printed := s.process.Stdout()
			if keyShown.MatchString(printed) {
				t.Error("the API key is shown where there is no terminal")
			}
			file := keyInFile.FindStringSubmatch(printed)
			if file == nil {
				t.Fatalf("no file is named in: %s", printed)
			}
			if log := s.process.Log(); strings.Contains(log, "applied ") {
				t.Errorf("the log of a first start reports migrations: %s", log)
			}
			if !filepath.IsAbs(file[1]) {
				t.Fatalf("%s is not absolute: the commands work in one directory only", file[1])
			}
			key := remember("API key", strings.TrimSpace(read(t, file[1])))
			if info, err := os.Stat(file[1]); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%s: mode %s, want 0600 (%v)", file[1], info.Mode(), err)
			}
			if info, err := os.Stat(filepath.Dir(file[1])); err != nil || info.Mode().Perm() != 0o700 {
				t.Errorf("its directory: mode %s, want 0700 (%v)", info.Mode(), err)
			}
			tryCommands(t, printed)
			if keys := s.want(t, call{method: "GET", path: "/.well-known/jwks.json"},
				http.StatusOK).body; !strings.Contains(keys, `"kid"`) {
				t.Errorf("the only tenant's keys are not among the shared ones: %s", keys)
			}
			if engine == memory {
				return
			}
			onDisk := files(t, filepath.Dir(file[1]))
			s.Restart()
			if again := s.process.Stdout(); again != "" {
				t.Errorf("the second start prints %s", again)
			}
			if files(t, filepath.Dir(file[1]))["/first-api-key"] != onDisk["/first-api-key"] {
				t.Error("the second start changed the key file")
			}
			s.want(t, call{method: "GET", path: "/jwt/refresh?userId=alice", key: key, tenant: "default"}, http.StatusOK)
		})
	}
}

// Users read README first, and paste its tour second.
func TestREADMEsTourWorksAsItIsPasted(t *testing.T) {
	d := newDatabase(t, sqlite)
	d.url = "sqlite:refreshd-data/refreshd.db" // the default
	s := start(t, d, settings{noKickstart: true})
	tourShows(t, pasted(t, d.dir, readmesTour(t, s.URL())))
}

// Two refusals are equal, and are not the same response.
func TestREADMEsTourSaysSoWhenItFails(t *testing.T) {
	d := newDatabase(t, sqlite)
	d.url = "sqlite:refreshd-data/refreshd.db"
	s := start(t, d, settings{noKickstart: true})
	for name, tt := range map[string]struct{ dir, base string }{
		"without the key":     {t.TempDir(), s.URL()},
		"without the service": {d.dir, "http://127.0.0.1:1"},
	} {
		if out := pasted(t, tt.dir, readmesTour(t, tt.base)); strings.Contains(out, "the same response") ||
			!strings.Contains(out, "another response") {
			t.Errorf("%s: %s", name, out)
		}
	}
}

// leftOfAFirstRun checks that one file in dir contains one API key of the first run, which is valid at s, and that
// there is no other trace of one.
func leftOfAFirstRun(t *testing.T, where, dir string, s *service) (key string) {
	t.Helper()
	var found []string
	for name := range files(t, dir) {
		if strings.Contains(name, "first-api-key") || strings.Contains(name, "unfinished") {
			found = append(found, name)
		}
	}
	if len(found) != 1 || found[0] != "/first-api-key" {
		t.Errorf("%s: files %q, want one, first-api-key", where, found)
		return ""
	}
	key = remember("API key", strings.TrimSpace(read(t, filepath.Join(dir, "first-api-key"))))
	if a := s.mustDo(t, as(issueCall("alice", "demo"), key, "default")); a.status != http.StatusOK {
		t.Errorf("%s: the key in the file is answered %s", where, a)
	}
	return key
}

// A supervisor that starts four processes in one empty directory, or a person in four terminals, gets one database, one
// master key, and one API key, which the file contains.
func TestConcurrentFirstStartsMakeOneKey(t *testing.T) {
	rounds := 20
	if testing.Short() {
		rounds = 3
	}
	for round := range rounds {
		d := newDatabase(t, sqlite)
		services := make([]*service, 4)
		for i := range services {
			v := &service{t: t, database: d, settings: settings{noKickstart: true}}
			services[i] = v
		}
		var launched sync.WaitGroup
		for _, v := range services {
			launched.Go(func() {
				p, how := v.settings.rigged(t, d)
				var err error
				if v.process, err = p.Start(t.Context(), how); err != nil {
					t.Error(err)
				}
			})
		}
		launched.Wait()
		if t.Failed() {
			t.FailNow()
		}
		for _, v := range services {
			v.started()
			t.Cleanup(v.Stop)
		}
		where := fmt.Sprintf("round %d", round)
		key := leftOfAFirstRun(t, where, filepath.Dir(d.path()), services[0])
		told := 0
		for _, v := range services {
			if a := v.mustDo(t, as(issueCall("bob", "demo"), key, "default")); a.status != http.StatusOK {
				t.Errorf("%s: one of the processes answers %s", where, a)
			}
			if strings.Contains(v.process.Stdout(), "first-api-key") {
				told++
			}
		}
		if told != 1 {
			t.Errorf("%s: %d of the processes told of a key, want 1", where, told)
		}
		for _, v := range services {
			v.Stop()
		}
		if t.Failed() {
			return
		}
	}
}

// Whatever a first start had done when it was killed, the next one completes: one valid key, in one file.
func TestAFirstStartThatWasKilledIsFinishedByTheNext(t *testing.T) {
	kills := 40
	if testing.Short() {
		kills = 6
	}
	unkilled := time.Duration(0)
	for n := range kills {
		d := newDatabase(t, sqlite)
		started := time.Now()
		first := begin(t, d, settings{})
		if n == 0 { // the duration on this machine
			eventually(t, "a first start", func() bool {
				_, err := os.Stat(filepath.Join(filepath.Dir(d.path()), "first-api-key"))
				return err == nil
			})
			unkilled = time.Since(started)
		} else {
			// The kills are spread over the duration of a start.
			time.Sleep(unkilled * 6 / 5 * time.Duration(n) / time.Duration(kills-1))
		}
		if err := first.Kill(); err != nil {
			t.Fatal(err)
		}
		s := start(t, d, settings{noKickstart: true})
		leftOfAFirstRun(t, fmt.Sprintf("kill %d of %d", n, kills), filepath.Dir(d.path()), s)
		s.Stop()
		if t.Failed() {
			return
		}
	}
}

// The key in the file is nowhere else: another database beside the first one must not replace it.
func TestASecondDatabaseLeavesTheFirstOnesKeyAlone(t *testing.T) {
	d := newDatabase(t, sqlite)
	d.url = "sqlite:refreshd-data/refreshd.db"
	s := start(t, d, settings{noKickstart: true})
	first := keyInFile.FindStringSubmatch(s.process.Stdout())[1]
	key := remember("API key", strings.TrimSpace(read(t, first)))
	s.Stop()
	d.url = "sqlite:refreshd-data/other.db"
	if got := runVerb(t, d, settings{}, "serve"); got.Status == 0 ||
		!strings.Contains(got.Stderr, "other.db is not there") {
		t.Errorf("a second database, without asking for one: %s", got)
	}
	if got := runVerb(t, d, settings{}, "migrate"); got.Status != 0 {
		t.Fatalf("refreshd migrate: %s", got)
	}
	s = start(t, d, settings{noKickstart: true})
	second := keyInFile.FindStringSubmatch(s.process.Stdout())[1]
	if other := remember("API key", strings.TrimSpace(read(t, second))); other == key {
		t.Error("two databases have one key")
	}
	if strings.TrimSpace(read(t, first)) != key {
		t.Errorf("%s holds another key now", first)
	}
}

func TestKickstartIsIdempotentAndRefusesNonsense(t *testing.T) {
	eachDatabase(t, func(t *testing.T, d database) {
		file := kickstartFile(t, "")
		first := runVerb(t, d, settings{}, "apply", "-f", file)
		if first.Status != 0 || !strings.Contains(first.Stdout, "23 created, 0 updated, 0 unchanged") {
			t.Fatalf("first: %s", first)
		}
		stored := d.dump(t)
		again := runVerb(t, d, settings{}, "apply", "--file="+file)
		if again.Status != 0 || !strings.Contains(again.Stdout, "0 created, 0 updated, 23 unchanged") {
			t.Errorf("again: %s", again)
		}
		if diff := cmp.Diff(stored, d.dump(t)); diff != "" {
			t.Errorf("applied again, it changed something (-before +after):\n%s", diff)
		}
		missing := settings{env: []string{"ACME_KEY="}}
		for name, tt := range map[string]struct {
			text     string
			settings settings
			says     string
		}{
			"unknown name": {"tenants:\n  - id: acme\n    nmae: Acme\n", settings{},
				"kickstart.yaml:3: tenants[0].nmae: "},
			"wrong type": {"tenants:\n  - id: acme\n    name: Acme\n    jwtConfiguration: {timeToLiveInSeconds: soon}\n",
				settings{}, "kickstart.yaml:4: tenants[0].jwtConfiguration.timeToLiveInSeconds: "},
			"out of range": {"tenants:\n  - id: acme\n    name: Acme\n    jwtConfiguration:\n      " +
				"timeToLiveInSeconds: -1\n", settings{}, "kickstart.yaml:5: tenants[0].jwtConfiguration.timeToLiveInSeconds: "},
			"impossible tenant": {"tenants:\n  - id: \"a c m e\"\n    name: Acme\n", settings{},
				"kickstart.yaml:2: tenants[0].id: "},
			"unknown tenant": {"apiKeys:\n  - name: k\n    key: ${ACME_KEY}\n    tenantId: nobody\n", settings{},
				"kickstart.yaml:4: apiKeys[0].tenantId: "},
			"a short key": {"apiKeys:\n  - name: k\n    key: ak_short\n", settings{},
				"kickstart.yaml:3: apiKeys[0].key: "},
			"a variable not set": {"tenants:\n  - id: new\n    name: New\napiKeys:\n  - name: acme\n    key: ${ACME_KEY}\n",
				missing, "kickstart.yaml:6: apiKeys[0].key: "},
			"no YAML": {"tenants: [", settings{}, "kickstart.yaml:"},
			"twice the same": {"tenants:\n  - id: new\n    name: New\n  - id: new\n    name: New\n", settings{},
				"kickstart.yaml:4: tenants[1].id: "},
			"half right": {"tenants:\n  - id: new\n    name: New\n  - id: \"\"\n    name: New\n", settings{},
				"kickstart.yaml:4: tenants[1].id: "},
			"another one's issuer": {"tenants:\n  - id: new\n    name: New\n    issuer: https://auth.acme.example\n", settings{},
				"issuer"},
		} {
			got := runVerb(t, d, tt.settings, "apply", "-f", kickstartFile(t, tt.text))
			if got.Status == 0 || !strings.Contains(got.Stderr, tt.says) {
				t.Errorf("%s: %s\nwant %q", name, got, tt.says)
			}
			if diff := cmp.Diff(stored, d.dump(t)); diff != "" {
				t.Fatalf("%s changed something (-before +after):\n%s", name, diff)
			}
		}
		if got := runVerb(t, d, settings{}, "apply", "-f", "/nowhere.yaml"); got.Status == 0 ||
			!strings.Contains(got.Stderr, "/nowhere.yaml") {
			t.Errorf("no such file: %s", got)
		}

		// At start, the file of the environment variable: it updates, and keeps what it does not mention.
		s := start(t, d, settings{kickstart: "tenants:\n  - id: acme\n    name: Acme Ltd\n    issuer: " +
			"https://auth.acme.example\n    applications: [{id: shop, name: Shop, active: false}]\n"})
		if printed := s.process.Stdout(); !strings.Contains(printed, "0 created, 2 updated, 0 unchanged") {
			t.Errorf("at start: %s", printed)
		}
		s.want(t, issueCall("alice", "shop"), http.StatusBadRequest, "[inactive]applicationsId")
		s.exchange(t, s.issue(t, "alice", "quick").RefreshToken)

		// Applied by another process while this one serves, it takes effect at the next request.
		held := s.issue(t, "alice", "quick")
		apply := func(text string) {
			t.Helper()
			if got := runVerb(t, d, settings{}, "apply", "-f", kickstartFile(t, text)); got.Status != 0 {
				t.Fatalf("apply: %s", got)
			}
		}
		const acmeWith = "tenants:\n  - id: acme\n    name: Acme\n    issuer: https://auth.acme.example\n"
		apply(acmeWith + "    applications: [{id: quick, name: Quick, active: false}]\n")
		s.refused(t, held.RefreshToken, "[inactive]refreshToken")
		apply(acmeWith + "    active: false\n    applications: [{id: quick, name: Quick, active: true}]\n")
		s.refused(t, held.RefreshToken, "[inactive]refreshToken")
		apply(acmeWith + "    applications: [{id: quick, name: Quick}]\n")
		s.exchange(t, held.RefreshToken)
		apply("apiKeys: [{name: acme, key: " + newAPIKey() +
			", tenantId: acme, permissions: {endpoints: {\"*\": [\"*\"]}}}]\n")
		s.want(t, issueCall("alice", "quick"), http.StatusUnauthorized)
		refusedStart(t, d, settings{env: []string{"REFRESHD_KICKSTART_FILE=" + kickstartFile(t, "tenants: 1\n")}},
			"kickstart.yaml:1: tenants: ")
	})
}
