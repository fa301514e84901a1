package main

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/test/support/rig"
)

func testBulk(rows int) *bulk {
	key := domain.TokenKey{Number: 1, Key: domain.NewSecret(strings.Repeat("k", 32))}
	return &bulk{rows: rows, generation: 2, key: key}
}

// A session that is exchanged again before all others could still be within its grace period.
func TestPoolComesRoundOnlyAfterAllSessions(t *testing.T) {
	const rows = 1000
	p, err := newPool(testBulk(rows), &service{&rig.Service{API: "127.0.0.1:1"}}, 1)
	if err != nil {
		t.Fatal(err)
	}
	round := func() []int {
		var numbers []int
		for range rows {
			numbers = append(numbers, p.take(0))
		}
		return numbers
	}
	first, second := round(), round()
	if diff := cmp.Diff(first, second); diff != "" {
		t.Errorf("the second round differs (-first +second):\n%s", diff)
	}
	slices.Sort(first)
	for i, number := range first {
		if number != i+1 {
			t.Fatalf("number %d in order is %d, want %d", i, number, i+1)
		}
	}
}

// A pool that is too small has to show: exchanges that did not rotate are counted, and their string stays current.
func TestPoolCountsWhatDidNotRotate(t *testing.T) {
	k := testBulk(1)
	outcomes := []string{"rotated", "retried", "retried", "rotated"}
	var presented []uint32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body struct{ RefreshToken string }
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			t.Error(err)
		}
		got, ok := domain.ParseTokenString(body.RefreshToken)
		if !ok || got.ID != bulkID(1) {
			t.Errorf("presented %q", body.RefreshToken)
		}
		outcome := outcomes[len(presented)]
		presented = append(presented, got.Generation)
		next := got.Generation
		if outcome == rotated {
			next++
		}
		w.Header().Set("Refreshd-Outcome", outcome)
		id := got.ID.String()
		if _, err := w.Write(answerWith(k.key.Mint(got.ID, next).Reveal(), id, id)); err != nil {
			t.Error(err)
		}
	}))
	defer server.Close()
	p, err := newPool(k, &service{&rig.Service{API: server.Listener.Addr().String()}}, 1)
	if err != nil {
		t.Fatal(err)
	}
	disconnect, err := connect(context.Background(), p.users, time.Minute)
	defer disconnect()
	if err != nil {
		t.Fatal(err)
	}
	for range outcomes {
		if err := p.exchange(0); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]uint32{2, 3, 3, 3}, presented); diff != "" {
		t.Errorf("presented generations (-want +got):\n%s", diff)
	}
	if all, others := p.exchanged(); all != 4 || others != 2 {
		t.Errorf("exchanged %d, %d of them not rotated, want 4 and 2", all, others)
	}
	if got, want := countsText(p.outcomes), "2 retried, 2 rotated"; got != want {
		t.Errorf("outcomes: got %q, want %q", got, want)
	}
}

func TestGrantNamesItsAlgorithm(t *testing.T) {
	for accessToken, want := range map[string]string{
		"eyJhbGciOiJFUzI1NiIsImtpZCI6ImsifQ.e30.c2ln": "ES256", "e30.e30.c2ln": "", "!.e30.c2ln": "", "": "",
	} {
		if got := (grant{accessToken: []byte(accessToken)}).algorithm(); got != want {
			t.Errorf("%q: got %q, want %q", accessToken, got, want)
		}
	}
}
