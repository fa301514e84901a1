package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/refreshd/refreshd/test/support/postgres"
	"github.com/refreshd/refreshd/test/support/rig"
)

// keyScene is a kind of rounds in which keys change.
type keyScene struct {
	name string
	says string
	run  func(context.Context, *keyFleet, time.Duration) error
}

// keyScenes are all of them.
var keyScenes = []keyScene{
	{"keys-caches", "keys of every kind rotate, and verifiers use key sets that are up to 2 h old", provesCaches},
	{"keys-master", "the master key changes while services of every step run and are killed", provesMaster},
	{"keys-ended", "signing keys are revoked under load", provesEnded},
}

// Label implements rig.Part.
func (s keyScene) Label() (name, about string) { return s.name, s.says }

// everyKeyScene stands for all scenes.
type everyKeyScene struct{}

// Label implements rig.Part.
func (everyKeyScene) Label() (name, about string) { return "keys", "every part in which keys change" }

// oftenRotates has a service look at its keys every second, so that the worker is busy in a round of a minute.
var oftenRotates = []change{
	{"usecase/keyrotation.go", "KeyRotationInterval = time.Hour\n", "KeyRotationInterval = time.Second\n"},
	{"usecase/keyrotation.go", "keyRotationDelay = time.Minute\n", "keyRotationDelay = time.Second\n"},
}

// proveKeys runs each scene, the unchanged service, for the same time.
func proveKeys(ctx context.Context, o options, scenes []keyScene, dir string, w io.Writer) error {
	program, err := rig.Build(ctx, dir, mutant{name: "keys", changes: oftenRotates}.build())
	if err != nil {
		return err
	}
	for i, s := range scenes {
		fmt.Fprintf(w, "%s: %s\n", s.name, s.says)
		took := time.Now()
		faults, counts, err := keyRound(ctx, program, s, o.seed+uint64(i), o.keys/time.Duration(len(scenes)), w)
		fmt.Fprintf(w, "\n| %s | %s |\n|---|---|\n", s.name, time.Since(took).Round(time.Second))
		for _, k := range slices.Sorted(maps.Keys(counts)) {
			fmt.Fprintf(w, "| %s | %d |\n", k, counts[k])
		}
		fmt.Fprintf(w, "| wrong | %d |\n", len(faults))
		if err != nil {
			return err
		}
		if len(faults) > 0 {
			return fmt.Errorf("a promise about keys was broken, seed %d:\n%s", o.seed, strings.Join(faults, "\n"))
		}
	}
	return ctx.Err()
}

// keyRound runs a scene until its time is over or something is wrong.
func keyRound(
	ctx context.Context, p rig.Program, s keyScene, seed uint64, d time.Duration, w io.Writer,
) (faults []string, counts map[string]int, err error) {
	f, err := newKeyFleet(ctx, p, seed, w)
	defer func() { err = errors.Join(err, f.close()) }()
	if err != nil {
		return nil, nil, err
	}
	running, end := context.WithCancel(ctx)
	defer end()
	go func() {
		select {
		case <-f.faults.first:
			end()
		case <-running.Done():
		}
	}()
	err = s.run(running, f, d)
	if faults = f.faults.list(); len(faults) > 0 && ctx.Err() == nil {
		err = nil // what follows from the fault
	}
	if len(faults) > 0 {
		f.tellKeys(context.WithoutCancel(ctx))
	}
	for _, m := range f.members {
		if m.service != nil && strings.Contains(m.service.Log(), "panic") {
			faults = append(faults, "a panic in "+m.service.LogTail())
		}
	}
	return faults, f.counts.n, err
}

// tellKeys prints what is stored of the signing keys, for a reader who looks for the cause of a fault.
func (f *keyFleet) tellKeys(ctx context.Context) {
	all, err := f.keys(ctx)
	if err != nil {
		fmt.Fprintln(f.progress, "the keys:", err)
		return
	}
	fmt.Fprintln(f.progress, "the signing keys, at", f.now().UTC().Format(time.DateTime))
	for _, k := range all {
		if k.Kind == "signing" {
			fmt.Fprintf(f.progress, "  %s %s of %q, %s: %v\n", k.ID, k.Algorithm, k.TenantID, k.State, k.Timeline)
		}
	}
}

const (
	keyTenants = 3
	adminKey   = "ak_prove_keys_keys_keys_keys_keys"
)

// keyApplications are the applications of each tenant, with the algorithm that each names first. Their access tokens
// are valid for the longest time that a policy allows, or for some minutes.
var keyApplications = []struct {
	id, algorithm string
	lifetime      time.Duration
}{
	{"web", "ES256", 15 * time.Minute},
	{"mobile", "EdDSA", 5 * time.Minute},
	{"legacy", "RS256", 24 * time.Hour},
	{"batch", "ES256", 24 * time.Hour},
}

// keyKickstart returns a kickstart file that names several algorithms for each tenant.
func keyKickstart() string {
	text := "tenants:\n"
	for t := range keyTenants {
		text += fmt.Sprintf("  - {id: %s, name: %[1]s, applications: [\n", tenantName(t))
		for _, a := range keyApplications {
			text += fmt.Sprintf("      {id: %s, name: %[1]s, jwtConfiguration: {algorithm: %s, timeToLiveInSeconds: %d, "+
				"refreshTokenTimeToLiveInMinutes: 129600, refreshTokenExpirationPolicy: SlidingWindow}},\n",
				a.id, a.algorithm, int(a.lifetime.Seconds()))
		}
		text += "    ]}\n"
	}
	return text + `apiKeys: [{name: prove, key: ` + adminKey + `, permissions: {endpoints: {"*": ["*"], "/key": ["*"], ` +
		`"/application": ["*"], "/api-key": ["*"], "/revocations": ["GET"]}}}]` + "\n"
}

// keyFleet is services on one PostgreSQL with one clock.
type keyFleet struct {
	program  rig.Program
	server   *postgres.Server
	database string
	members  []*keyMember
	random   *rand.Rand // of the scene, not of its clients
	seed     uint64
	client   *http.Client
	progress io.Writer

	// gate is held for reading by clients in a request, and for writing while the clock is set: a clock that really
	// runs would not jump by hours in a request.
	gate      sync.RWMutex
	clockFile string
	ahead     time.Duration

	faults *faults
	counts words
}

// keyMember is one service. Only the scene's own goroutine ends and starts it.
type keyMember struct {
	settings rig.Settings
	service  *rig.Service // nil if it is down
}

// newKeyFleet starts three services. The caller has to close the result even if there is an error.
func newKeyFleet(ctx context.Context, p rig.Program, seed uint64, w io.Writer) (f *keyFleet, err error) {
	f = &keyFleet{
		program: p, seed: seed, random: rand.New(rand.NewPCG(seed, 0)), faults: newFaults(), progress: w,
		client: &http.Client{
			Timeout:   15 * time.Second,
			Transport: &http.Transport{MaxIdleConnsPerHost: 100, IdleConnTimeout: time.Second},
		},
		clockFile: filepath.Join(p.Dir, fmt.Sprintf("keys-clock-%d", time.Now().UnixNano())),
	}
	if err := rig.Ahead(0).Set(f.clockFile); err != nil {
		return f, err
	}
	if f.server, err = postgres.StartServer(ctx, postgres.Options{}); err != nil {
		return f, err
	}
	if f.database, err = f.server.NewDatabase(ctx); err != nil {
		return f, err
	}
	if out, err := p.Run(ctx, rig.Settings{Database: f.database}, "migrate"); err != nil {
		return f, fmt.Errorf("%w\n%s", err, out)
	}
	for range 3 {
		addresses, err := rig.FreeAddresses(2)
		if err != nil {
			return f, err
		}
		m := &keyMember{settings: rig.Settings{
			Database: f.database, Kickstart: keyKickstart(), Listen: addresses[0], AdminListen: addresses[1],
		}}
		m.settings.Env = f.env(rig.MasterKey, "")
		f.members = append(f.members, m)
		if m.service, err = p.Serve(ctx, m.settings); err != nil {
			return f, err
		}
	}
	return f, nil
}

// env returns the environment of a service with these master keys.
func (f *keyFleet) env(master, previous string) []string {
	env := []string{
		rig.ClockFile(f.clockFile), "REFRESHD_PUBLIC_URL=" + publicURL, "REFRESHD_LOG_LEVEL=warn",
		"REFRESHD_PURGE_INTERVAL=0s", // it compares its clock with PostgreSQL's, as in newWorld
		"REFRESHD_KEY_ROTATION=48h", "REFRESHD_KEY_CACHE_AGE=2h", "REFRESHD_MASTER_KEY=" + master,
	}
	if previous != "" {
		env = append(env, "REFRESHD_MASTER_KEY_PREVIOUS="+previous)
	}
	return env
}

func (f *keyFleet) close() error {
	var errs []error
	for _, m := range f.members {
		if m.service != nil {
			errs = append(errs, m.service.Kill())
		}
	}
	if f.server != nil {
		errs = append(errs, f.server.Stop())
	}
	return errors.Join(errs...)
}

// now returns what the clock of the services shows.
func (f *keyFleet) now() time.Time { return time.Now().Add(f.ahead) }

// leap sets the clock ahead, between requests.
func (f *keyFleet) leap(d time.Duration) error {
	f.gate.Lock()
	defer f.gate.Unlock()
	f.ahead += d
	return rig.Ahead(f.ahead).Set(f.clockFile)
}

// ask sends a request to a random service, and to others while it has no response.
func (f *keyFleet) ask(ctx context.Context, r *rand.Rand, q rig.Request) (rig.Response, error) {
	q.Key = orElse(q.Key, adminKey)
	var last error
	for end := time.Now().Add(time.Minute); time.Now().Before(end); pause(ctx, r, 50*time.Millisecond) {
		m := f.members[r.IntN(len(f.members))]
		res, err := q.Do(context.WithoutCancel(ctx), f.client, m.settings.Listen)
		if err == nil && res.Status < http.StatusInternalServerError {
			return res, nil
		}
		last = errors.Join(err, fmt.Errorf("%s", res))
		f.counts.add("requests:", "without a response, sent again")
	}
	return rig.Response{}, fmt.Errorf("%s %s: no service responds: %w", q.Method, q.Path, last)
}

func orElse(s, or string) string {
	if s == "" {
		return or
	}
	return s
}

// body returns v as JSON.
func body(v map[string]any) string {
	text, _ := json.Marshal(v)
	return string(text)
}

// keySession is a session of a client.
type keySession struct {
	tenant, application, user string
	id, tokenString, access   string
}

// issue begins a session.
func (f *keyFleet) issue(ctx context.Context, r *rand.Rand, tenant, application, user string) (*keySession, error) {
	s := &keySession{tenant: tenant, application: application, user: user}
	res, err := f.ask(ctx, r, rig.Request{Method: "POST", Path: "/jwt/issue", Tenant: tenant,
		Body: body(map[string]any{"userId": user, "applicationsId": application})})
	if err != nil {
		return nil, err
	}
	return s, s.take(res)
}

// exchange exchanges the token string. An exchange that is refused is an error.
func (f *keyFleet) exchange(ctx context.Context, r *rand.Rand, s *keySession, oldAccess string) error {
	b := map[string]any{"refreshToken": s.tokenString}
	if oldAccess != "" {
		b["token"] = oldAccess
	}
	res, err := f.ask(ctx, r, rig.Request{Method: "POST", Path: "/jwt/refresh", Tenant: s.tenant, Body: body(b)})
	if err != nil {
		return err
	}
	f.counts.add("exchanges:", orElse(res.Header.Get("Refreshd-Outcome"), "without an outcome"))
	return s.take(res)
}

func (s *keySession) take(res rig.Response) error {
	var g struct{ RefreshToken, RefreshTokenID, Token string }
	if err := res.Data(&g); err != nil {
		return fmt.Errorf("user %s of %s in %s: %w", s.user, s.application, s.tenant, err)
	}
	s.id, s.tokenString, s.access = g.RefreshTokenID, g.RefreshToken, g.Token
	return nil
}

// load runs clients until ctx is done: each exchanges the token strings of its sessions and begins a new one at times.
// granted gets each access token, and when the request began that returned it. An exchange that fails is a fault.
func (f *keyFleet) load(ctx context.Context, granted func(r *rand.Rand, s *keySession, asked time.Time)) {
	var clients sync.WaitGroup
	for t := range keyTenants {
		for i, a := range keyApplications {
			r := rand.New(rand.NewPCG(f.seed, uint64(100+10*t+i)))
			clients.Go(func() {
				var s *keySession
				for ctx.Err() == nil {
					err := func() (err error) {
						f.gate.RLock()
						defer f.gate.RUnlock()
						asked := time.Now()
						if s == nil || r.IntN(30) == 0 {
							s, err = f.issue(ctx, r, tenantName(t), a.id, userName(i))
						} else {
							err = f.exchange(ctx, r, s, "")
						}
						if err == nil {
							granted(r, s, asked)
						}
						return err
					}()
					if err != nil {
						f.faults.add("refused: %s", err)
						return
					}
					pause(ctx, r, 40*time.Millisecond)
				}
			})
		}
	}
	clients.Wait()
}

// storedKey is a key as `GET /key` shows it.
type storedKey struct {
	ID, Kind, TenantID, Algorithm, State, SealedBy string
	InsertInstant, StartsInstant                   int64
	Timeline                                       []storedMoment
}

type storedMoment struct {
	Instant int64
	What    string
}

func (m storedMoment) String() string {
	return m.What + " " + time.UnixMilli(m.Instant).UTC().Format(time.DateTime)
}

// keys returns all keys.
func (f *keyFleet) keys(ctx context.Context) (all []storedKey, err error) {
	for query := "?limit=100"; ; {
		res, err := f.ask(ctx, f.random, rig.Request{Method: "GET", Path: "/key" + query})
		if err != nil {
			return nil, err
		}
		var page []storedKey
		if err := res.Data(&page); err != nil {
			return nil, err
		}
		all = append(all, page...)
		var more bool
		if query, _, more = strings.Cut(strings.TrimPrefix(res.Header.Get("Link"), "<"), ">"); !more {
			return all, nil
		}
	}
}

// change sends a request that changes keys. A response 400 or 409, a step that is refused, is counted and no error.
func (f *keyFleet) change(ctx context.Context, what, method, path string, b map[string]any) (done bool, err error) {
	res, err := f.ask(ctx, f.random, rig.Request{Method: method, Path: path, Body: body(b)})
	switch {
	case err != nil:
		return false, err
	case res.Status == http.StatusConflict, res.Status == http.StatusBadRequest:
		f.counts.add("keys:", what+", refused")
		return false, nil
	case res.Status/100 != 2:
		return false, fmt.Errorf("%s: %s", what, res)
	}
	f.counts.add("keys:", what)
	return true, nil
}

func jsonOf(res rig.Response, to any) error { return json.Unmarshal(res.Body, to) }
