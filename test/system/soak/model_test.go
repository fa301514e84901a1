package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/refreshd/refreshd/domain"
)

// begin is when the model's tests begin. A call takes a millisecond.
var begin = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func callAt(after time.Duration) span {
	return span{begin.Add(after), begin.Add(after + time.Millisecond)}
}

// tokenString returns a token string of a generation, without a secret.
func tokenString(generation uint32) string {
	var key domain.TokenKey
	return key.Mint(domain.ID{1}, generation).Reveal()
}

func sessionOf(a *application, generations ...time.Duration) *session {
	t := newTenant("acme", 1, a)
	s := newSession(domain.ID{1}.String(), t.users[0], a, tokenString(1), callAt(0))
	t.users[0].sessions = append(t.users[0].sessions, s)
	for _, at := range generations {
		s.rotate(tokenString(s.current().generation+1), callAt(at), "")
	}
	return s
}

func TestSessionEndsWhenItsPolicySays(t *testing.T) {
	for _, test := range []struct {
		application *application
		rotations   []time.Duration
		want        time.Duration
	}{
		{shop, nil, time.Minute},
		{shop, []time.Duration{30 * time.Second}, 90 * time.Second},
		{shop, []time.Duration{30*time.Second + 900*time.Millisecond}, 90 * time.Second}, // a whole second
		{shop, []time.Duration{50 * time.Second, 100 * time.Second, 150 * time.Second}, 3 * time.Minute},
		{mobile, []time.Duration{100 * time.Second, 200 * time.Second}, 320 * time.Second},
		{kiosk, []time.Duration{100 * time.Second}, 2 * time.Minute},
	} {
		s := sessionOf(test.application, test.rotations...)
		for at, want := range map[time.Duration]state{
			test.want - time.Second: alive, test.want - time.Millisecond: either, test.want: dead,
		} {
			if got := s.state(callAt(at)); got != want {
				t.Errorf("%s after %v: at %s got %d, want %d", test.application.id, test.rotations, at, got, want)
			}
		}
	}
}

// Neither a retry nor a repeated recovery makes a response stand longer.
func TestAnswerStandsForAGracePeriod(t *testing.T) {
	s := sessionOf(mobile)
	stands := func(at time.Duration, wantMay, wantSurely bool) {
		t.Helper()
		if may, surely := s.stands(callAt(at)); may != wantMay || surely != wantSurely {
			t.Errorf("at %s it may stand: %t, surely: %t, want %t and %t", at, may, surely, wantMay, wantSurely)
		}
	}
	stands(time.Millisecond, false, false)
	s.rotate("", callAt(10*time.Second), "")
	stands(10*time.Second+grace-2*time.Millisecond, true, true)
	stands(10*time.Second+grace, true, false)
	stands(10*time.Second+grace+2*time.Millisecond, false, false)
	s.recover(callAt(20*time.Second), "")
	stands(20*time.Second+grace/2, true, true)
	s.recover(callAt(20*time.Second+grace), "")
	stands(20*time.Second+grace+grace/2, false, false)
}

// The budget is two recoveries, and one more for each ten generations.
func TestRecoveriesHaveABudget(t *testing.T) {
	s := sessionOf(mobile)
	var granted []uint32
	for range 40 {
		s.rotate("", callAt(0), "")
		if s.recoverable() {
			granted = append(granted, s.current().generation)
			s.recover(callAt(0), "")
		}
		if g := s.current().generation; slices.Contains(granted, g) && !s.recoverable() {
			t.Errorf("generation %d was recovered, and cannot be again", g)
		}
	}
	if want := []uint32{2, 3, 12, 22, 32}; !slices.Equal(granted, want) {
		t.Errorf("recovered at %v, want %v", granted, want)
	}
}

// The order of logins counts, not the order of the ids, which other clocks made.
func TestLimitKeepsTheNewest(t *testing.T) {
	u := sessionOf(shop).user
	for i := range 4 {
		u.sessions = append(u.sessions, newSession(domain.ID{2, byte(9 - i)}.String(), u, shop, "", callAt(time.Second)))
	}
	other := newSession(domain.ID{0}.String(), u, mobile, "", callAt(time.Second))
	u.sessions = append(u.sessions, other)
	u.keepNewest(shop, callAt(2*time.Second))
	var left []string
	for _, s := range u.living(begin.Add(3 * time.Second)) {
		left = append(left, s.id[:4])
	}
	if want := []string{"0208", "0207", "0206", "0000"}; !slices.Equal(left, want) {
		t.Errorf("left are %v, want %v", left, want)
	}

	// The newest of four expires during the call: whether it counts decides about the oldest.
	u.sessions = u.sessions[1:5]
	u.sessions[0].revoked = span{}
	u.sessions[3].expires = callAt(4 * time.Second)
	u.keepNewest(shop, callAt(4*time.Second))
	if got := u.sessions[0].state(callAt(5 * time.Second)); got != either {
		t.Errorf("the oldest is %d, want that it cannot be told", got)
	}
	if got := u.sessions[1].state(callAt(5 * time.Second)); got != alive {
		t.Errorf("the one before the oldest is %d, want alive", got)
	}
}

// answered is a possible response to an exchange.
func answered(outcome string, s *session, generation uint32, call span) reply {
	got := reply{status: http.StatusOK, outcome: outcome, call: call, calls: 1}
	if generation == 0 {
		got.status = http.StatusBadRequest
		return got
	}
	got.body, _ = json.Marshal(map[string]any{
		"data": grant{TokenString: tokenString(generation), ID: s.id, AccessToken: "a.b.c"},
	})
	return got
}

// Each of these responses is wrong, and has to be reported under its name.
func TestWrongAnswersAreTold(t *testing.T) {
	now := callAt(10 * time.Second)
	active := func() *session { return sessionOf(mobile, time.Second, 2*time.Second) } // at generation 3
	revoked := func() *session { s := active(); s.end(callAt(3 * time.Second)); return s }
	for name, test := range map[string]struct {
		session *session
		held    func(*session) held
		got     func(*session) reply
		allowed []string
		want    string // empty: nothing is wrong
	}{
		"rotated": {active(), (*session).current, func(s *session) reply {
			return answered("rotated", s, 4, now)
		}, []string{"rotated"}, ""},
		"not rotated": {active(), (*session).current, func(s *session) reply {
			return answered("rotated", s, 3, now)
		}, []string{"rotated"}, wrongAnswer},
		"a generation left out": {active(), (*session).current, func(s *session) reply {
			return answered("rotated", s, 5, now)
		}, []string{"rotated"}, wrongAnswer},
		"another session's": {active(), (*session).current, func(s *session) reply {
			return answered("rotated", somebodyElse(s), 4, now)
		}, []string{"rotated"}, wrongAnswer},
		"another outcome": {active(), (*session).current, func(s *session) reply {
			return answered("unchanged", s, 4, now)
		}, []string{"rotated"}, wrongAnswer},
		"logged out": {active(), (*session).current, func(s *session) reply {
			return answered("revoked", s, 0, now)
		}, []string{"rotated"}, loggedOut},
		"logged out as a thief": {active(), (*session).current, func(s *session) reply {
			return answered("replayed", s, 0, now)
		}, []string{"rotated"}, loggedOut},
		"expired too soon": {active(), (*session).current, func(s *session) reply {
			return answered("expired", s, 0, now)
		}, []string{"rotated"}, loggedOut},
		"a fault of the service's": {active(), (*session).current, func(s *session) reply {
			return reply{status: 500, call: now}
		}, []string{"rotated"}, wrongAnswer},
		"retried": {active(), previous, func(s *session) reply {
			return answered("retried", s, 3, now)
		}, []string{"retried"}, ""},
		"a retry that rotated": {active(), previous, func(s *session) reply {
			return answered("rotated", s, 4, now)
		}, []string{"retried"}, wrongAnswer},
		"retried with the current string": {active(), (*session).current, func(s *session) reply {
			return answered("retried", s, 3, now)
		}, []string{"retried"}, ""},
		"a retry before the rotation": {active(), (*session).current, func(s *session) reply {
			return answered("retried", s, 4, now)
		}, []string{"retried"}, wrongAnswer},
		"a replay": {active(), previous, func(s *session) reply {
			return answered("replayed", s, 0, now)
		}, []string{"replayed"}, ""},
		"a replay that was answered": {active(), previous, func(s *session) reply {
			return answered("recovered", s, 3, now)
		}, []string{"replayed"}, wrongAnswer},
		"revoked": {revoked(), (*session).current, func(s *session) reply {
			return answered("revoked", s, 0, now)
		}, nil, ""},
		"revoked and answered": {revoked(), (*session).current, func(s *session) reply {
			return answered("rotated", s, 4, now)
		}, []string{"rotated"}, answeredOff},
		"revoked and immediately unknown": {revoked(), (*session).current, func(s *session) reply {
			return answered("invalid", s, 0, now)
		}, nil, wrongAnswer},
		"revoked and purged": {revoked(), (*session).current, func(s *session) reply {
			return answered("invalid", s, 0, callAt(6*time.Minute))
		}, nil, ""},
		"expired": {active(), (*session).current, func(s *session) reply {
			return answered("expired", s, 0, callAt(3*time.Minute))
		}, []string{"rotated"}, ""},
		"expired and answered": {active(), (*session).current, func(s *session) reply {
			return answered("rotated", s, 4, callAt(3*time.Minute))
		}, []string{"rotated"}, answeredOff},
		"expired, and the wrong refusal": {active(), (*session).current, func(s *session) reply {
			return answered("revoked", s, 0, callAt(3*time.Minute))
		}, []string{"rotated"}, wrongAnswer},
		"a retry's answer is not as it was": {withAnswer(active()), previous, func(s *session) reply {
			return answered("retried", s, 3, now)
		}, []string{"retried"}, wrongAnswer},
	} {
		c := &crowd{faults: newFaults()}
		c.judge(test.session, test.held(test.session), test.got(test.session), test.allowed...)
		if test.want == "" && c.faults.sum() > 0 {
			t.Errorf("%s: got %v, want no fault", name, c.faults.first)
		}
		if test.want != "" && (c.faults.sum() != 1 || !strings.Contains(fmt.Sprint(c.faults.counts), test.want)) {
			t.Errorf("%s: got %v, want %q", name, c.faults.counts, test.want)
		}
		for _, text := range c.faults.first {
			if strings.Contains(text, "rt_") {
				t.Errorf("%s: a token string is in the fault: %s", name, text)
			}
		}
	}
}

func previous(s *session) held { h, _ := s.previous(); return h }

func somebodyElse(*session) *session { return &session{id: "of somebody else"} }

func withAnswer(s *session) *session { s.access = "d.e.f"; return s }

// A changed model or a changed store: each difference has to be found.
func TestDifferencesBetweenStoreAndModelAreFound(t *testing.T) {
	at := begin.Add(10 * time.Second)
	build := func() (*tenant, []row) {
		s := sessionOf(mobile, time.Second)
		s.id = "living"
		u := s.user
		ended := newSession("ended", u, mobile, tokenString(1), callAt(0))
		ended.end(callAt(2 * time.Second))
		u.sessions = append(u.sessions, ended)
		u.tenant.mark(scope{"acme", "", "user-0"}, 1)
		return u.tenant, []row{
			{"living", "acme", "mobile", "user-0", 2, true},
			{"ended", "acme", "mobile", "user-0", 1, false},
		}
	}
	living := func(t *tenant) *session { return t.users[0].sessions[0] }
	ended := func(t *tenant) *session { return t.users[0].sessions[1] }
	marks := []scope{{"acme", "", "user-0"}}
	for name, test := range map[string]struct {
		doctor func(t *tenant, rows *[]row, marks *[]scope, epoch *uint64)
		want   string // empty: nothing differs
	}{
		"nothing": {func(*tenant, *[]row, *[]scope, *uint64) {}, ""},
		"a row is lost": {func(_ *tenant, rows *[]row, _ *[]scope, _ *uint64) {
			*rows = (*rows)[1:]
		}, "living of user-0/mobile is not stored"},
		"an ended row is lost": {func(_ *tenant, rows *[]row, _ *[]scope, _ *uint64) {
			*rows = (*rows)[:1]
		}, "ended of user-0/mobile is not stored"},
		"a row too many": {func(_ *tenant, rows *[]row, _ *[]scope, _ *uint64) {
			*rows = append(*rows, row{id: "unknown"})
		}, "unknown is stored"},
		"the store went back": {func(_ *tenant, rows *[]row, _ *[]scope, _ *uint64) {
			(*rows)[0].generation = 1
		}, "living is at generation 1, its user was given 2"},
		"an answer too many": {func(t *tenant, _ *[]row, _ *[]scope, _ *uint64) {
			living(t).rotate("", callAt(time.Second), "")
		}, "its user was given 3"},
		"revived": {func(_ *tenant, rows *[]row, _ *[]scope, _ *uint64) {
			(*rows)[1].alive = true
		}, "ended is active in the store and has ended in the model"},
		"a revocation too wide": {func(_ *tenant, rows *[]row, _ *[]scope, _ *uint64) {
			(*rows)[0].alive = false
		}, "living has ended in the store and is active in the model"},
		"a revocation forgotten": {func(t *tenant, _ *[]row, _ *[]scope, _ *uint64) {
			ended(t).revoked = span{}
		}, "ended has ended in the store and is active in the model"},
		"another's": {func(_ *tenant, rows *[]row, _ *[]scope, _ *uint64) {
			(*rows)[0].user = "user-1"
		}, "living is stored as acme/mobile/user-1"},
		"not purged": {func(t *tenant, _ *[]row, _ *[]scope, _ *uint64) {
			ended(t).expires = callAt(-time.Hour)
		}, "ended expired before 02:04:05 and is not purged"},
		"a mark is lost": {func(_ *tenant, _ *[]row, marks *[]scope, _ *uint64) {
			*marks = nil
		}, "the mark of acme//user-0 is not stored"},
		"a mark too many": {func(_ *tenant, _ *[]row, marks *[]scope, _ *uint64) {
			*marks = append(*marks, scope{"acme", "", ""})
		}, "a mark of acme// is stored"},
		"an epoch too low":  {func(_ *tenant, _ *[]row, _ *[]scope, epoch *uint64) { *epoch = 0 }, "acme is at epoch 0"},
		"an epoch too high": {func(_ *tenant, _ *[]row, _ *[]scope, epoch *uint64) { *epoch = 2 }, "acme is at epoch 2"},
	} {
		acme, rows := build()
		marks, epoch := slices.Clone(marks), uint64(1)
		test.doctor(acme, &rows, &marks, &epoch)
		c := compare(acme.sessions(), rows, at, at)
		c.compareMarks([]*tenant{acme}, marks)
		c.compareEpoch(acme, epoch)
		if test.want == "" && (len(c.differences) > 0 || c.modelLive != 1 || c.storeLive != 1 || c.sessions != 2 ||
			c.rows != 2 || c.generations != 1) {
			t.Errorf("%s: got %+v, want no difference", name, c)
		}
		if test.want != "" && (len(c.differences) != 1 || !strings.Contains(c.differences[0], test.want)) {
			t.Errorf("%s: got %q, want one that says %q", name, c.differences, test.want)
		}
	}
}

// A purged session is no difference, and is forgotten.
func TestPurgedIsForgotten(t *testing.T) {
	s := sessionOf(kiosk)
	at := begin.Add(8 * time.Minute)
	c := compare(s.user.tenant.sessions(), nil, at, at)
	if len(c.differences) > 0 || len(c.gone) != 1 || c.sessions != 0 {
		t.Fatalf("got %+v, want it in gone", c)
	}
	forget(c.gone)
	if len(s.user.sessions) > 0 {
		t.Error("it is still in the model")
	}
}
