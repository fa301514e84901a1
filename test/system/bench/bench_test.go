package main

import (
	"bufio"
	"context"
	"encoding/base64"
	"math"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/refreshd/refreshd/adapter/gormstore"
)

// A rate of one round must not be compared with that of another round: the machine may have been twice as fast.
func TestRatioIsTakenWithinARound(t *testing.T) {
	var s series
	for _, r := range []struct{ limit, service float64 }{{100, 50}, {1000, 500}, {10, 5}} {
		s.add("limit", 8, run{rate: r.limit})
		s.add("service", 8, run{rate: r.service})
	}
	if got := s.ratio("service", "limit", 8, perSecond); got != .5 {
		t.Errorf("ratio = %v, want 0.5", got)
	}
	if got := s.ratio("service", "limit", 32, perSecond); !math.IsNaN(got) {
		t.Errorf("ratio without runs = %v, want no number", got)
	}
}

func TestTargetsHaveNamesOfTheirOwn(t *testing.T) {
	seen := map[string]bool{}
	for _, target := range targets {
		if seen[target.name] {
			t.Errorf("%s occurs twice", target.name)
		}
		seen[target.name] = true
	}
	if at := atMost("x", 3, "%.0f", ""); !at.reached(3) || at.reached(3.1) {
		t.Error("at most 3: want 3 to be reached and 3.1 not")
	}
	if at := atLeast("x", 3, "%.0f", ""); !at.reached(3) || at.reached(2.9) {
		t.Error("at least 3: want 3 to be reached and 2.9 not")
	}
}

func TestAnswersAreReadOneAfterAnother(t *testing.T) {
	const all = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\ncontent-length: 5\r\n" +
		"Refreshd-Outcome: rotated\r\n\r\nfirst" +
		"HTTP/1.1 400 Bad Request\r\nContent-Length: 6\r\n\r\nsecond" +
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nthi\r\nA\r\nrd, longer\r\n0\r\n\r\n" +
		"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
	r := bufio.NewReader(strings.NewReader(all))
	var got response
	for _, want := range []struct {
		status        int
		outcome, body string
	}{{200, "rotated", "first"}, {400, "", "second"}, {200, "", "third, longer"}, {404, "", ""}} {
		if err := got.read(r); err != nil || got.status != want.status || string(got.outcome) != want.outcome ||
			string(got.body) != want.body {
			t.Errorf("got %d %q %q, %v, want %v", got.status, got.outcome, got.body, err, want)
		}
	}
}

func TestAnswerThatTheDriverCannotReadIsAnError(t *testing.T) {
	for _, text := range []string{
		"", "nonsense\r\n\r\n", "HTTP/1.1 OK\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort",
		"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfive\r\n", "HTTP/1.1 200 OK\r\nContent-Le",
	} {
		var got response
		if err := got.read(bufio.NewReader(strings.NewReader(text))); err == nil {
			t.Errorf("%q: got %q, want an error", text, got.body)
		}
	}
}

func answerWith(tokenString, id, sid string) []byte {
	jwt := "e30." + base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"u","sid":"`+sid+`"}`)) + ".c2ln"
	return []byte(`{"success":true,"data":{"refreshToken":"` + tokenString + `","refreshTokenId":"` + id +
		`","token":"` + jwt + `"}}`)
}

func TestGrantHasToFitTogether(t *testing.T) {
	good := "rt_" + strings.Repeat("A", 64)
	g, err := parseGrant(200, answerWith(good, "id-1", "id-1"))
	if err != nil || string(g.tokenString) != good || string(g.id) != "id-1" {
		t.Errorf("got %q, %q, %v", g.tokenString, g.id, err)
	}
	for name, bad := range map[string]struct {
		status int
		body   []byte
	}{
		"a refusal":                {400, answerWith(good, "id-1", "id-1")},
		"another session's":        {200, answerWith(good, "id-1", "id-2")},
		"a short token string":     {200, answerWith("rt_A", "id-1", "id-1")},
		"no access token":          {200, []byte(`{"refreshToken":"` + good + `","refreshTokenId":"id-1"}`)},
		"an access token of words": {200, []byte(`{"refreshToken":"` + good + `","refreshTokenId":"id-1","token":"a.!.c"}`)},
	} {
		if _, err := parseGrant(bad.status, bad.body); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// Found in a real run: one token string in some thousand contains its own prefix again.
func TestUserPresentsTheWholeTokenString(t *testing.T) {
	twice := "rt_" + strings.Repeat("A", 30) + "rt_" + strings.Repeat("B", 31)
	u, err := newUser("127.0.0.1:1", twice, "id")
	if err != nil || string(u.current) != twice ||
		!strings.HasSuffix(string(u.request), "\r\n\r\n{\"refreshToken\":\""+twice+"\"}") {
		t.Fatalf("%v: presents %q in %q", err, u.current, u.request)
	}
	if _, err := newUser("127.0.0.1:1", twice[1:], "id"); err == nil {
		t.Error("a string that is too short: want an error")
	}
}

func TestPgbenchsLogCountsWithinTheWindowOnly(t *testing.T) {
	const log = "0 1 100 0 1000 0\n1 1 200 0 1000 500000\n0 2 300 0 1001 0\n1 2 400 0 1001 1\n"
	got, err := parseLog(nil, strings.NewReader(log), time.Unix(1000, 0), time.Unix(1001, 0))
	want := []time.Duration{200 * time.Microsecond, 300 * time.Microsecond}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v, durations (-want +got):\n%s", err, diff)
	}
	if _, err := parseLog(nil, strings.NewReader("0 1 failed 0 1000 0\n"), time.Time{}, time.Now()); err == nil {
		t.Error("a line without a duration: want an error")
	}
	if got, err := processed("x\nnumber of transactions actually processed: 12\ny"); got != 12 || err != nil {
		t.Errorf("processed: got %d, %v, want 12", got, err)
	}
}

// Each parameter of the store's statement becomes a variable of pgbench that the script sets.
func TestFullStatementHasNoParameterLeft(t *testing.T) {
	path := filepath.Join(t.TempDir(), "refreshd.db")
	text, err := exchangeStatement(t.Context(), func(ctx context.Context, o gormstore.Options) (*gormstore.Store, error) {
		s, err := gormstore.OpenSQLite(ctx, path, o) // the conditions are those of PostgreSQL
		if err == nil {
			err = s.Migrate(ctx, nil)
		}
		return s, err
	})
	if err != nil {
		t.Fatal(err)
	}
	got := fullStatement(text).text
	if strings.Contains(got, "$") {
		t.Errorf("a parameter is left: %s", got)
	}
	for _, name := range regexp.MustCompile(`[^:]:([a-z_]+)`).FindAllStringSubmatch(got, -1) {
		// pgbench itself sets client_id.
		if name[1] != "client_id" && !regexp.MustCompile(` `+name[1]+`[ ,\n]`).MatchString(chosen) {
			t.Errorf("the script sets no variable %s", name[1])
		}
	}
}
