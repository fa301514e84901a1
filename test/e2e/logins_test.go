package e2e_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
)

// login is a login with status 200, as its client and the database saw it.
type login struct {
	id              string
	began, answered time.Time
	ordinal         int64
	ended           string // the reason; empty if it has not ended
}

// The newest sessions of a user are kept. A successful login is ended only by a concurrent or later login, whatever the
// clocks of the processes.
func TestLoginsAboveTheLimitEndOnlyEarlierOnes(t *testing.T) {
	// ahead is longer than all bursts of a user take on a busy machine, so that ids are out of order for certain, and
	// less than the clock skew that a database accepts.
	const ahead, burst, bursts = 30 * time.Second, 10, 3
	eachDatabase(t, func(t *testing.T, d database) {
		users := 5 // of each of two applications
		if storms {
			users = 50
		}
		if d.engine == sqlite {
			users = (users + 4) / 5 // two processes wait for the lock on its file by polling
		}
		var services []*service
		for i := range 2 {
			told := settings{env: []string{"REFRESHD_PUBLIC_URL=https://auth.example.com"}}
			newClock(t, &told, time.Duration(i)*ahead)
			services = append(services, start(t, d, told))
		}
		for application, limit := range map[string]int{"one": 1, "three": 3} {
			var (
				mu         sync.Mutex
				all        []login
				aboveLimit int
				failures   []string
				crowd      sync.WaitGroup
				workers    = make(chan struct{}, 3)
			)
			fail := func(format string, args ...any) {
				mu.Lock()
				defer mu.Unlock()
				failures = append(failures, fmt.Sprintf(format, args...))
			}
			for n := range users {
				workers <- struct{}{}
				crowd.Go(func() {
					defer func() { <-workers }()
					user := fmt.Sprint("user ", n)
					var mine []login
					for round := range bursts {
						logins := make([]login, burst)
						var group sync.WaitGroup
						for i := range logins {
							group.Go(func() {
								time.Sleep(rand.N(20 * time.Millisecond)) // so that the order is random
								l := &logins[i]
								l.began = time.Now()
								a, err := services[rand.N(2)].do(issueCall(user, application))
								l.answered = time.Now()
								g, _ := a.grant()
								if l.id = g.RefreshTokenID; err != nil || a.status != http.StatusOK {
									fail("a login: %v %s", err, a)
								}
							})
						}
						group.Wait()
						mine = append(mine, logins...)
						query := url.Values{"userId": {user}, "applicationsId": {application}}
						list := acme(call{method: "GET", path: "/jwt/refresh?" + query.Encode()})
						a, err := services[round%2].do(list)
						var listed struct{ Data []record }
						if err == nil {
							err = json.Unmarshal([]byte(a.body), &listed)
						}
						if err != nil || a.status != http.StatusOK {
							fail("list: %v %s", err, a)
						} else if got := len(listed.Data); got != limit {
							fail("%d are active after a burst, want %d", got, limit)
							mu.Lock()
							aboveLimit += max(0, got-limit)
							mu.Unlock()
						}
					}
					mu.Lock()
					defer mu.Unlock()
					all = append(all, mine...)
				})
			}
			crowd.Wait()

			var limited, endedAtBirth, outOfOrder, outOfOrderByID int
			for _, logins := range ofUsers(t, d, all, application) {
				for _, l := range logins {
					if l.ended != "" {
						limited++
					}
					newer := 0 // logins that could end l
					for _, m := range logins {
						if m.answered.Before(l.began) && m.ordinal >= l.ordinal {
							outOfOrder++
						}
						if m.answered.Before(l.began) && m.id > l.id {
							outOfOrderByID++
						}
						if cmp.Or(cmp.Compare(m.ordinal, l.ordinal), cmp.Compare(m.id, l.id)) > 0 &&
							!m.answered.Before(l.began) {
							newer++
						}
					}
					switch {
					case l.ended != "" && l.ended != "limit":
						fail("a login was ended for the reason %q", l.ended)
					case l.ended != "" && newer < limit:
						endedAtBirth++
					case l.ended == "" && newer >= limit:
						fail("a login with %d newer ones is active, the limit being %d", newer, limit)
					}
				}
			}
			if aboveLimit+endedAtBirth+outOfOrder > 0 || len(all) != users*burst*bursts ||
				limited != len(all)-users*limit {
				t.Errorf("limit %d: of %d logins %d were ended, %d active above the limit, %d ended at birth, %d "+
					"pairs out of order", limit, len(all),
					limited, aboveLimit, endedAtBirth, outOfOrder)
			}
			for _, failure := range failures[:min(5, len(failures))] {
				t.Errorf("limit %d: %s", limit, failure)
			}
			if outOfOrderByID == 0 {
				t.Error("the ids are in the order of the logins: the clocks did not differ, and that shows nothing")
			}
			note([]string{"logins, two processes, clocks 30 s apart", "limit", "logins", "ended by the limit",
				"active above it", "ended at birth",
				"out of order", "pairs in the wrong order by id"}, d.engine, fmt.Sprint(limit), fmt.Sprint(len(all)),
				fmt.Sprint(limited),
				fmt.Sprint(aboveLimit), fmt.Sprint(endedAtBirth), fmt.Sprint(outOfOrder), fmt.Sprint(outOfOrderByID))
			t.Logf("limit %d: %d logins, %d ended by the limit, all in the order of the logins; by id %d pairs would "+
				"be in the wrong order",
				limit, len(all), limited, outOfOrderByID)
		}
	})
}

// ofUsers completes the logins of an application from the database, by user.
func ofUsers(t *testing.T, d database, all []login, application string) map[string][]login {
	t.Helper()
	byID := map[string]login{}
	for _, l := range all {
		byID[l.id] = l
	}
	r, err := d.open(t).QueryContext(t.Context(), `
		SELECT id, user_id, ordinal, CASE WHEN revoked_at = 0 THEN '' ELSE revoked_reason END
		FROM refresh_tokens WHERE application_id = $1`, application)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	byUser, n := map[string][]login{}, 0
	for ; r.Next(); n++ {
		var (
			id          uuid.UUID
			user, ended string
			ordinal     int64
		)
		if err := r.Scan(&id, &user, &ordinal, &ended); err != nil {
			t.Fatal(err)
		}
		l, answered := byID[id.String()]
		if !answered {
			t.Errorf("a refresh token is stored that no login was answered with")
		}
		l.ordinal, l.ended = ordinal, ended
		byUser[user] = append(byUser[user], l)
	}
	if err := r.Err(); err != nil {
		t.Fatal(err)
	}
	if n != len(all) {
		t.Errorf("%d refresh tokens are stored, %d logins were answered", n, len(all))
	}
	return byUser
}
