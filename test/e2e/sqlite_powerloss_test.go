package e2e_test

import (
	"database/sql"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/refreshd/refreshd/test/support/rig"
	"github.com/refreshd/refreshd/test/support/short"
)

// crashPoints names the variable for the number of power cuts.
const crashPoints = "POWERLOSS_POINTS"

func pointsToTry(t *testing.T, otherwise int) int {
	t.Helper()
	text := os.Getenv(crashPoints)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s=%s: write a number of power cuts", crashPoints, text)
	}
	return n
}

// recording is all that a service asked of its disk, in order, over several runs.
type recording struct {
	root  string
	steps []step
}

// step is a system call, the beginning of a response that promises something, or the end of a process.
type step struct {
	call   syscallEvent
	answer *promised
	reboot bool
}

// promised is a response that the service has begun to send.
type promised struct {
	string      string // the token string that it grants, or ""
	revokedID   string // the refresh token that it reports as revoked, or ""
	revokedUser string // the user whose refresh tokens it reports as revoked, or ""
}

// recorder makes settings run the service under strace. Its read returns the recording, after every process has ended.
func recorder(t *testing.T, d database, s *settings) (read func() recording) {
	t.Helper()
	var traces []func() string
	s.under = func(cmd *exec.Cmd) {
		traces = append(traces, underStrace(t, cmd, "-xx", "-s", "1048576", "-e", "trace="+onDisk))
	}
	return func() recording {
		t.Helper()
		r := recording{root: d.dir}
		for _, wait := range traces {
			readTrace(t, wait(), func(e syscallEvent) {
				if e.name != "write" {
					r.steps = append(r.steps, step{call: e})
				} else if p := promise(e.args[1]); p == nil {
					r.steps = append(r.steps, step{call: e})
				} else if !e.returned {
					r.steps = append(r.steps, step{answer: p})
				}
			})
			r.steps = append(r.steps, step{reboot: true})
		}
		return r
	}
}

// promise returns what a response that is being sent promises, if anything.
func promise(response string) *promised {
	header, body, ok := strings.Cut(response, "\r\n\r\n")
	if !ok || !strings.HasPrefix(header, "HTTP/1.1 200 ") {
		return nil
	}
	var e struct {
		Data struct{ RefreshToken, TokenID, UserID, RevokedBefore any }
	}
	if json.Unmarshal([]byte(body), &e) != nil {
		return nil
	}
	text := func(v any) string { s, _ := v.(string); return s }
	switch d := e.Data; {
	case d.RefreshToken != nil:
		return &promised{string: text(d.RefreshToken)}
	case d.TokenID != nil:
		return &promised{revokedID: text(d.TokenID)}
	case d.UserID != nil && d.RevokedBefore != nil:
		return &promised{revokedUser: text(d.UserID)}
	}
	return nil
}

// tokenID returns the refresh token's id of a token string, in hex.
func tokenID(tokenString string) string {
	b, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(tokenString, "rt_"))
	if err != nil || len(b) != 48 {
		return ""
	}
	return hex.EncodeToString(b[4:20])
}

// promises are those of all responses up to a moment.
type promises struct {
	current      map[string]string // the last token string, by id
	revoked      map[string]bool   // ids
	revokedUsers map[string]bool
	answers      int
}

func (p *promises) add(a *promised) {
	p.answers++
	switch {
	case a.revokedID != "":
		p.revoked[strings.ReplaceAll(a.revokedID, "-", "")] = true
	case a.revokedUser != "":
		p.revokedUsers[a.revokedUser] = true
	default:
		if id := tokenID(a.string); generation(a.string) > generation(p.current[id]) {
			p.current[id] = a.string
		}
	}
}

func (p *promises) clone() *promises {
	return &promises{maps.Clone(p.current), maps.Clone(p.revoked), maps.Clone(p.revokedUsers), p.answers}
}

// kind is the event before which the power is cut.
type kind int

const (
	answered    kind = iota // a response began to be sent
	checkpoints             // the database file was changed: the log is copied to it
	others
)

// replay applies r to a disk, and calls at at each moment at which a power cut may have another result.
func (r recording) replay(t *testing.T, at func(moment int, k kind, d *disk, p *promises)) {
	t.Helper()
	d := newDisk(r.root)
	p := &promises{current: map[string]string{}, revoked: map[string]bool{}, revokedUsers: map[string]bool{}}
	moment := 0
	for _, s := range r.steps {
		k := answered
		switch {
		case s.reboot:
			d.reboot()
			continue
		case s.answer != nil:
			p.add(s.answer)
		default:
			changed, err := d.follow(s.call)
			if err != nil {
				t.Fatal(err)
			}
			if changed == "" {
				continue
			}
			if k = others; strings.HasSuffix(changed, ".db") {
				k = checkpoints
			}
		}
		at(moment, k, d, p)
		moment++
	}
}

// choose returns how often to cut the power at which moment, n times in all: half of them at responses, if there are
// any, and a quarter around checkpoints.
func (r recording) choose(t *testing.T, n int) map[int]int {
	t.Helper()
	moments := map[kind][]int{}
	r.replay(t, func(moment int, k kind, _ *disk, _ *promises) { moments[k] = append(moments[k], moment) })
	share := map[kind]int{answered: n / 2, checkpoints: n / 4, others: n / 4}
	if len(moments[answered]) == 0 {
		share = map[kind]int{checkpoints: n / 4, others: n - n/4}
	}
	chosen := map[int]int{}
	for k, n := range share {
		for i := range n {
			if from := moments[k]; len(from) > 0 {
				chosen[from[i*len(from)/n]]++
			}
		}
	}
	return chosen
}

// inMemory returns a directory for disks that are read immediately, which avoids waiting for a real one.
func inMemory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "refreshd-e2e-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// powerLoss is the result of many power cuts.
type powerLoss struct {
	mu                               sync.Mutex
	points, dropped, checked, opened int
	losses                           []string
	wrote, synced, answers           int
	checkpoints                      int // while the service responded
}

func (l *powerLoss) lose(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.losses = append(l.losses, fmt.Sprintf(format, args...))
}

func (l *powerLoss) String() string {
	return fmt.Sprintf("%d power cuts in %d writes, %d syncs, %d checkpoints under load and %d answers: %d writes "+
		"dropped or torn, "+
		"%d promises checked, %d of the disks served by the program; losses: %d",
		l.points, l.wrote, l.synced, l.checkpoints, l.answers, l.dropped, l.checked, l.opened, len(l.losses))
}

const stored = `SELECT json_object(
  'integrity', (SELECT group_concat(integrity_check) FROM pragma_integrity_check),
  'tokens', json((SELECT json_group_object(lower(hex(id)), json_object('user', user_id, 'generation', generation,
    'ended', revoked_at <> 0 OR EXISTS (SELECT 1 FROM marks AS m
      WHERE m.tenant_id = r.tenant_id AND m.user_id IN ('', r.user_id) AND m.epoch > r.issued_epoch)))
    FROM refresh_tokens AS r)))`

// storedIn returns what the database at path has stored.
func storedIn(path string) (text string, err error) {
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(5000)")
	if err != nil {
		return "", err
	}
	defer db.Close()
	err = db.QueryRow(stored).Scan(&text)
	return text, err
}

// check compares the disk at dir with the promises.
func (l *powerLoss) check(where, path string, p *promises) {
	text, err := storedIn(path)
	if err != nil {
		if _, gone := os.Stat(path); p.answers > 0 || gone == nil && !strings.Contains(err.Error(), "no such table") {
			l.lose("%s: %v", where, err)
		}
		return
	}
	var db struct {
		Integrity string
		Tokens    map[string]struct {
			User       string
			Generation uint32
			Ended      int
		}
	}
	if err := json.Unmarshal([]byte(text), &db); err != nil {
		l.lose("%s: %v", where, err)
	}
	if db.Integrity != "ok" {
		l.lose("%s: integrity_check: %s", where, db.Integrity)
	}
	for id, current := range p.current {
		got, there := db.Tokens[id]
		switch want := generation(current); {
		case !there:
			l.lose("%s: an issued refresh token is lost", where)
		case got.Generation < want:
			l.lose("%s: stored generation %d, answered %d", where, got.Generation, want)
		case got.Generation > want+1:
			l.lose("%s: stored generation %d, answered %d: no request for that", where, got.Generation, want)
		case (p.revoked[id] || p.revokedUsers[got.User]) && got.Ended == 0:
			l.lose("%s: a confirmed revocation is lost", where)
		case !strings.HasPrefix(got.User, "victim") && got.Ended != 0:
			l.lose("%s: a user was logged out", where)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.checked += len(p.current) + len(p.revoked) + len(p.revokedUsers)
}

// cutPower cuts the power at n moments of r, and serves one in serve of the resulting disks.
func cutPower(t *testing.T, d database, r recording, n, serve int) *powerLoss {
	t.Helper()
	l := &powerLoss{}
	chosen := r.choose(t, n)
	random := rand.New(rand.NewPCG(4, 1))
	var group sync.WaitGroup
	workers := make(chan struct{}, runtime.NumCPU())
	images := inMemory(t)
	type image struct {
		database
		*promises
	}
	var toServe []image
	survive := func(name string, disk *disk, luck luck) (database, int) {
		image := d
		image.dir = filepath.Join(images, name)
		if err := os.Mkdir(image.dir, 0o700); err != nil {
			t.Fatal(err)
		}
		dropped, err := disk.survive(image.dir, luck, random)
		if err != nil {
			t.Fatal(err)
		}
		image.url = strings.Replace(d.url, d.dir, image.dir, 1)
		return image, dropped
	}
	before := answered
	r.replay(t, func(moment int, k kind, disk *disk, p *promises) {
		if k == checkpoints && before != checkpoints && p.answers > 0 {
			l.checkpoints++
		}
		l.wrote, l.synced, l.answers, before = disk.writes, disk.syncs, p.answers, k
		for range chosen[moment] {
			l.points++
			luck := lucks[l.points%len(lucks)]
			where, promised := fmt.Sprintf("cut %d, at moment %d, %s", l.points, moment, luck), p.clone()
			left, dropped := survive(strconv.Itoa(l.points), disk, luck)
			if l.points%serve == serve/2 {
				again, _ := survive(fmt.Sprint(l.points, " to serve"), disk, luck)
				toServe = append(toServe, image{again, promised})
			}
			l.mu.Lock()
			l.dropped += dropped
			l.mu.Unlock()
			workers <- struct{}{}
			group.Go(func() {
				defer func() { <-workers }()
				l.check(where, left.path(), promised)
				if err := os.RemoveAll(left.dir); err != nil {
					l.lose("%s: %v", where, err)
				}
			})
		}
	})
	group.Wait()
	for _, image := range toServe {
		l.serve(t, image.database, image.promises)
		l.opened++
	}
	return l
}

// serve starts the program on the resulting disk, and lets every client continue with the last string that it received.
func (l *powerLoss) serve(t *testing.T, d database, p *promises) {
	t.Helper()
	s := start(t, d, settings{})
	defer s.Stop()
	for _, id := range slices.Sorted(maps.Keys(p.current)) {
		a := s.mustDo(t, exchangeCall(p.current[id]))
		switch g, _ := a.grant(); {
		case p.revoked[id]:
			if a.status != http.StatusBadRequest {
				l.lose("a revoked token string is answered after the power cut: %s", a)
			}
		case a.status == http.StatusOK:
			if generation(g.RefreshToken) != generation(p.current[id])+1 {
				l.lose("generation %d follows %d after the power cut", generation(g.RefreshToken), generation(p.current[id]))
			}
		// the users whose tokens are all revoked are checked in SQL
		case !slices.Equal(a.codes(), []string{"[revoked]refreshToken"}):
			l.lose("a user was logged out by the power cut: %s", a)
		}
	}
}

// recordLoad runs users that exchange, issue and revoke on a service that is killed once and stopped once. Each run
// lasts for a number of exchanges; the first, if a checkpoint is requested, until SQLite has started its log again
// after one.
func recordLoad(t *testing.T, d database, program rig.Program, exchanges int64, checkpoint bool) recording {
	t.Helper()
	const frames, frame = 1000, 4096 + 24 // SQLite makes a checkpoint after this many
	s := settings{program: program}
	read := recorder(t, d, &s)
	v := start(t, d, s)
	_, l, stop := v.crowd(t, 8)
	defer stop()
	grown := func() bool {
		info, err := os.Stat(d.path() + "-wal")
		return err == nil && info.Size() > frames*frame
	}
	for life := range 2 {
		target := l.answered.Load() + exchanges
		for n := 0; (l.answered.Load() < target || checkpoint && life == 0 && !grown()) && l.failed.Load() == nil; n++ {
			user := fmt.Sprintf("victim %d of %d", n, life)
			one, other := v.issue(t, user, "chain"), v.issue(t, user, "chain")
			v.exchange(t, other.RefreshToken)
			v.want(t, acme(call{method: "DELETE", path: "/jwt/refresh/" + one.RefreshTokenID}), http.StatusOK)
			v.want(t, acme(call{method: "DELETE", path: "/jwt/refresh", body: object("userId", user)}), http.StatusOK)
			next := l.answered.Load() + 25
			v.await("answering", func() bool { return l.answered.Load() >= next || l.failed.Load() != nil })
		}
		if life == 0 {
			next := l.answered.Load() + 50
			v.await("answering", func() bool { return l.answered.Load() >= next || l.failed.Load() != nil })
			v.Kill9()
			v.run()
		}
	}
	stop()
	if failed := l.failed.Load(); failed != nil {
		t.Fatal(*failed)
	}
	v.Stop()
	return read()
}

// Only the client has the string of a completed rotation: if a power cut removed it from the database, the client's
// next exchange would be taken for a forgery.
func TestAPowerCutLosesNothingThatWasAnswered(t *testing.T) {
	short.LeaveOut(t, "strace")
	points := pointsToTry(t, 120)
	d := newDatabase(t, sqlite)
	begin := time.Now()
	r := recordLoad(t, d, rig.Program{}, 400, true)
	recorded := time.Since(begin)
	l := cutPower(t, d, r, points, max(20, points/50))
	if l.checkpoints == 0 {
		t.Error("the recording shows no checkpoint under load: let it run longer")
	}
	for _, loss := range l.losses[:min(5, len(l.losses))] {
		t.Error(loss)
	}
	t.Logf("%s (recorded in %s, %s in all)", l, recorded.Round(time.Millisecond),
		time.Since(begin).Round(time.Millisecond))
}

// A simulation that cannot lose anything would always pass.
func TestAPowerCutWithoutSyncsLosesWhatWasAnswered(t *testing.T) {
	short.LeaveOut(t, "strace")
	d := newDatabase(t, sqlite)
	unsynced := built(t, rig.BuildOptions{Name: "unsynced", Changes: []rig.Change{
		{File: "adapter/gormstore/open.go", From: "synchronous(FULL)", To: "synchronous(OFF)"},
	}})
	l := cutPower(t, d, recordLoad(t, d, unsynced, 100, false), 60, 1000)
	if len(l.losses) == 0 {
		t.Errorf("synchronous=OFF loses nothing: %s", l)
		return
	}
	t.Logf("synchronous=OFF: %s, such as: %s", l, l.losses[len(l.losses)/2])
}

// firstStart records a first start, to its end.
func firstStart(t *testing.T, d database, program rig.Program) recording {
	t.Helper()
	s := settings{noKickstart: true, program: program}
	read := recorder(t, d, &s)
	v := start(t, d, s)
	v.Kill9()
	return read()
}

// leftBy calls at with what a power cut leaves of a first start, at n moments.
func leftBy(t *testing.T, d database, r recording, n int, lucks []luck, at func(where string, left database)) {
	t.Helper()
	chosen, random, images, cut := r.choose(t, n), rand.New(rand.NewPCG(4, 2)), inMemory(t), 0
	r.replay(t, func(moment int, _ kind, disk *disk, _ *promises) {
		for range chosen[moment] {
			left := d
			left.dir = filepath.Join(images, strconv.Itoa(cut))
			left.url = strings.Replace(d.url, d.dir, left.dir, 1)
			if err := os.Mkdir(left.dir, 0o700); err != nil {
				t.Fatal(err)
			}
			luck := lucks[cut%len(lucks)]
			if _, err := disk.survive(left.dir, luck, random); err != nil {
				t.Fatal(err)
			}
			cut++
			at(fmt.Sprintf("cut %d, at moment %d, %s", cut, moment, luck), left)
		}
	})
}

// The first start creates a database, the master key that seals its keys, and an API key in one file: in an order in
// which a power cut never leaves one that is useless without another. The next start creates what is missing.
func TestAFirstStartThatAPowerCutEndedIsCompletedByTheNext(t *testing.T) {
	d := newDatabase(t, sqlite)
	r := firstStart(t, d, rig.Program{})
	starts := 0
	leftBy(t, d, r, pointsToTry(t, 120)/4, lucks, func(where string, left database) {
		v := start(t, left, settings{noKickstart: true})
		defer v.Stop()
		starts++
		leftOfAFirstRun(t, where, filepath.Dir(left.path()), v)
	})
	t.Logf("%d power cuts during a first start: the next start completed each", starts)
}

func TestAFirstStartThatSyncsNoKeyFileIsOfNoUse(t *testing.T) {
	short.LeaveOut(t, "strace")
	d := newDatabase(t, sqlite)
	r := firstStart(t, d, built(t, rig.BuildOptions{Name: "unsynced-files", Changes: []rig.Change{
		{File: "adapter/cli/firstrun.go", From: "f.Sync(), f.Close()", To: "f.Close()"},
	}}))
	cuts, refused, last := 0, 0, rig.Result{}
	leftBy(t, d, r, 12, lucks[:1], func(_ string, left database) {
		cuts++
		if got := runVerb(t, left, settings{}, "apply", "-f", kickstartFile(t, "")); got.Status != 0 {
			refused++
			last = got
		}
	})
	if refused == 0 {
		t.Errorf("%d power cuts, and no key file was missed", cuts)
	}
	t.Logf("without syncs of key files: of %d power cuts, %d leave a store that cannot be opened, such as: %s", cuts,
		refused, last.Stderr)
}
