package reachapi_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/refreshd/refreshd/domain"
)

// The bytes of a stream are what clients in other languages parse. e may be below zero: the feed's beat is older than
// the request.
func TestAStreamIsThisByteForByte(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		s.facts.revoke(1764440000123456,
			domain.Fact{TenantID: acme, SessionID: domain.ID{1, 2, 3}},
			domain.Fact{TenantID: acme, Epoch: 5, UserID: "u\n", Except: domain.ID{0xff}},
			domain.Fact{TenantID: acme, Epoch: 7, ApplicationID: "a"},
			domain.Fact{TenantID: acme, KeyID: "k-1"},
			domain.Fact{TenantID: acme, SessionID: domain.ID{4}},
		)
		s.do(s.request(t, ""))             // the feed reads every 100 ms from here on, and beats every 500 ms
		time.Sleep(251 * time.Millisecond) // of the bubble's
		got := s.follow(s.request(t, "", "Accept", asStream), 700*time.Millisecond)
		want := `event: hello
data: {"v":1,"tenant":"acme","keep":1200,"beat":500}

event: facts
data: {"n":1,"keep":1200,"s":["AQIDAAAAAAAAAAAAAAAAAA","BAAAAAAAAAAAAAAAAAAAAA"],` +
			`"m":[[null,"u\n",5,"_wAAAAAAAAAAAAAAAAAAAA"],["a",null,7,null]],"k":["k-1"]}

event: fresh
id: 1764440000123456
data: {"n":2,"e":-251}

event: fresh
id: 1764440000123456
data: {"n":3,"e":249}

`
		body, bye, _ := strings.Cut(got.Body.String(), "event: bye\n")
		if diff := cmp.Diff(want, body); diff != "" || !strings.HasPrefix(bye, `data: {"after":`) {
			t.Errorf("the stream differs (-want +got):\n%s\n%s", diff, bye)
		}
	})
}
