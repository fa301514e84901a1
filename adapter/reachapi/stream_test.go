package reachapi_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/refreshd/refreshd/adapter/reachapi"
	"github.com/refreshd/refreshd/adapter/web"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

// The bytes of a stream are what clients in other languages parse. e is rounded down, or a view would seem newer than
// it is. It may be below zero: the feed's beat is older than the request.
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
		s.do(s.request(t, ""))                 // the feed reads every 100 ms from here on, and beats every 500 ms
		time.Sleep(251_500 * time.Microsecond) // of the bubble's
		got := s.follow(s.request(t, "", "Accept", asStream), 700*time.Millisecond)
		want := `event: hello
data: {"v":1,"tenant":"acme","keep":1200,"beat":500}

event: facts
data: {"n":1,"keep":1200,"s":["AQIDAAAAAAAAAAAAAAAAAA","BAAAAAAAAAAAAAAAAAAAAA"],` +
			`"m":[[null,"u\n",5,"_wAAAAAAAAAAAAAAAAAAAA"],["a",null,7,null]],"k":["k-1"]}

event: fresh
id: 1764440000123456
data: {"n":2,"e":-252}

event: fresh
id: 1764440000123456
data: {"n":3,"e":248}

`
		body, bye, _ := strings.Cut(got.Body.String(), "event: bye\n")
		if diff := cmp.Diff(want, body); diff != "" || !strings.HasPrefix(bye, `data: {"after":`) {
			t.Errorf("the stream differs (-want +got):\n%s\n%s", diff, bye)
		}
	})
}

// Caches, and proxies that buffer or compress, would delay frames. The connection is closed at the end, so that the
// next stream may go to another replica.
func TestAResponseHasTheseHeaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		for accept, want := range map[string]http.Header{
			asStream:           {"Content-Type": {"text/event-stream"}, "Connection": {"close"}},
			"application/json": {"Content-Type": {"application/json"}},
		} {
			want.Set("Cache-Control", "no-store, no-transform")
			want.Set("X-Accel-Buffering", "no")
			want.Set("X-Content-Type-Options", "nosniff")
			got := s.follow(s.request(t, "", "Accept", accept), time.Second).Result().Header
			got.Del("X-Request-Id")
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", accept, diff)
			}
		}
	})
}

// A resource server refuses a token within a second of its revocation. The facts come before the fresh that claims
// them, or a client that is cut off between the two would believe that it has them.
func TestNewFactsAreSentBeforeTheFreshThatClaimsThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		s.do(s.request(t, "")) // the feed is awake
		c := s.connect(t, s.request(t, "", "Accept", asStream))
		for n := 1; n <= 40; n++ {
			time.Sleep(77 * time.Millisecond) // of the bubble's
			s.facts.revoke(domain.Position(n), session(acme, n))
			revoked := time.Now()
			for {
				f := c.next(t)
				if f.Event == "fresh" && f.ID >= fmt.Sprint(n) && len(f.ID) >= len(fmt.Sprint(n)) {
					t.Fatalf("fresh has the cursor %s before fact %d", f.ID, n)
				}
				if f.Event == "facts" {
					if got := sids(t, []frame{f}); !slices.Equal(got, []int{n}) {
						t.Fatalf("got the facts %v, want %d", got, n)
					}
					break
				}
			}
			if took := time.Since(revoked); took > 110*time.Millisecond { // of the bubble's
				t.Errorf("fact %d was sent after %v", n, took)
			}
			if f := c.next(t); f.Event != "fresh" {
				t.Errorf("%s follows facts, want fresh", f.Event)
			}
		}
		checked(t, c.seen)
	})
}

// A frame must not grow without bound: a client parses it as a whole.
func TestAFrameHasAThousandFactsAtMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		s.facts.revoke(1, sessions(acme, 1, 2500)...)
		s.facts.revoke(1, domain.Fact{TenantID: acme, Epoch: 1, UserID: "u"})
		for _, frames := range [][]frame{
			events(t, s.follow(s.request(t, "", "Accept", asStream), 10*time.Millisecond).Body.String()),
			array(t, s.do(s.request(t, "")).Body.String()),
		} {
			got := sids(t, frames)
			slices.Sort(got)
			if len(got) != 2500 || len(slices.Compact(got)) != 2500 {
				t.Errorf("got %d sessions, want 2500", len(got))
			}
			for _, f := range frames {
				if n := len(f.data.Sids) + len(f.data.Marks) + len(f.data.Keys); n > 1000 {
					t.Errorf("a frame has %d facts", n)
				}
			}
		}
	})
}

// Without a fact a client learns every half a second that its view is fresh.
func TestAnIdleStreamIsFreshEveryHalfSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		all := events(t, s.follow(s.request(t, "", "Accept", asStream), 60*time.Second+time.Millisecond).Body.String())
		if fresh := strings.Count(named(all), "fresh"); fresh < 120 || fresh > 122 {
			t.Errorf("got %d in a minute, want 121", fresh)
		}
	})
}

// A cursor saves sending everything again. It is one of any replica, so it may be ahead of this one, or come from a
// store that was lost.
func TestAStreamResumes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		const minute = 60_000_000
		s.facts.revoke(1*minute, session(acme, 1))
		s.do(s.request(t, "")) // facts that are read together may be repeated together
		time.Sleep(time.Second)
		s.facts.revoke(10*minute, session(acme, 2))
		time.Sleep(time.Second)
		for name, test := range map[string]struct {
			query  string
			header string
			want   []int
		}{
			"no cursor":             {"", "", []int{1, 2}},
			"from before both":      {"?cursor=1", "", []int{1, 2}},
			"after the first":       {"?cursor=240000000", "", []int{2}},
			"at the head":           {"?cursor=600000000", "", []int{2}}, // it is repeated: the last two minutes are
			"of Last-Event-ID":      {"", "240000000", []int{2}},
			"of both":               {"?cursor=240000000", "240000000", []int{2}},
			"above the head":        {"?cursor=600000001", "", []int{1, 2}},
			"above the head by far": {"?cursor=9223372036854775807", "", []int{1, 2}},
		} {
			req := s.request(t, test.query, "Accept", asStream)
			if test.header != "" {
				req.Header.Set("Last-Event-ID", test.header)
			}
			got := sids(t, events(t, s.follow(req, 300*time.Millisecond).Body.String()))
			if slices.Sort(got); !slices.Equal(got, test.want) {
				t.Errorf("%s: got %v, want %v", name, got, test.want)
			}
		}
	})
}

// A client reconnects after a bye. Streams that began together must not all do it together.
func TestAStreamEndsAfterTenMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		begun, ended := time.Now(), make(chan time.Duration)
		const streams = 8
		for range streams {
			go func() {
				all := events(t, s.follow(s.request(t, "", "Accept", asStream), time.Hour).Body.String())
				if bye := last(all, "bye"); bye.data.After < 500 || bye.data.After > 2500 {
					t.Errorf("it ended with %s", bye.Data)
				}
				ended <- time.Since(begun)
			}()
		}
		moments := map[time.Duration]bool{}
		for range streams {
			lasted := <-ended
			if moments[lasted] = true; lasted < 9*time.Minute || lasted > 11*time.Minute+time.Second {
				t.Errorf("it ended after %v", lasted)
			}
		}
		if len(moments) < 3 {
			t.Errorf("%d streams ended after %v", streams, moments)
		}
		s.wantEnding(t, "age")
	})
}

// A replica that cannot read the store has nothing to say. Its clients find another one.
func TestABlindReplicaEndsAndRefusesStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		c := s.connect(t, s.request(t, "", "Accept", asStream))
		c.next(t)
		s.facts.fail(errors.New("no route to host"))
		failed := time.Now()
		c.untilEnd(t)
		if took := time.Since(failed); took < 2*time.Second || took > 3100*time.Millisecond || c.end.Event != "bye" {
			t.Errorf("it ended with %q after %v, want bye after 2 to 3 seconds", c.end.Event, took)
		}
		for _, accept := range []string{asStream, "application/json"} {
			res := s.do(s.request(t, "?cursor=1", "Accept", accept))
			if res.Code != 503 || res.Header().Get("Retry-After") != "1" || res.Body.Len() > 0 ||
				res.Header().Get("Content-Type") != "" {
				t.Errorf("%s: got %d, %v, %q; want 503", accept, res.Code, res.Header(), res.Body)
			}
		}
		s.wantEnding(t, "blind")
		if log := s.log.String(); strings.Contains(log, `"level":"ERROR"`) {
			t.Errorf("each client that reconnects is an error in the log, beside the feed's own line:\n%s", log)
		}
		s.facts.fail(nil)
		time.Sleep(time.Second)
		if res := s.do(s.request(t, "")); res.Code != 200 {
			t.Errorf("got %d once the store is back", res.Code)
		}
	})
}

// A client that disconnects is not a failure.
func TestAStreamEndsWithItsClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		s.follow(s.request(t, "", "Accept", asStream), 5*time.Second)
		s.wantEnding(t, "client")
	})
}

// The permission of a stream is checked again every 10 seconds.
func TestAStreamEndsWithItsPermission(t *testing.T) {
	for name, end := range map[string]func(t *testing.T, s *service){
		"removed": func(t *testing.T, s *service) { s.deleteKey(t, "reader") },
		"expired": func(t *testing.T, s *service) {
			s.change(t, "reader", func(k *domain.APIKey) { k.ExpiresAt = time.Now() })
		},
		"permission removed": func(t *testing.T, s *service) {
			s.change(t, "reader", func(k *domain.APIKey) { k.Permissions = domain.Permissions{"*": {"*"}} })
		},
		"bound to another tenant": func(t *testing.T, s *service) {
			s.change(t, "reader", func(k *domain.APIKey) { k.TenantID = globex })
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newService(t)
				c := s.connect(t, s.request(t, "", "Accept", asStream))
				polled := make(chan []frame)
				c.next(t)
				time.Sleep(61 * time.Second) // of the bubble's: the permission holds
				go func() {
					polled <- array(t, s.do(s.request(t, "?cursor=0&wait=25")).Body.String())
				}()
				time.Sleep(time.Millisecond) // of the bubble's: the poll waits
				end(t, s)
				ended := time.Now()
				c.untilEnd(t)
				if took := time.Since(ended); took > 11*time.Second || c.end.Event != "bye" {
					t.Errorf("it ended with %q after %v", c.end.Event, took)
				}
				if got := last(<-polled, "bye"); got.Event != "bye" || time.Since(ended) > 12*time.Second {
					t.Errorf("the long poll ended with %q after %v", got.Event, time.Since(ended))
				}
				if res := s.do(s.request(t, "")); res.Code != 401 {
					t.Errorf("the next request got %d, want 401", res.Code)
				}
				s.wantEnding(t, "refused")
			})
		})
	}
}

// Thousands of streams must not cost a look-up each. They share it only if they have the API key in common.
func TestTheStreamsOfAnAPIKeyShareTheirChecks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const streams = 50
		s := newService(t)
		keys := &countedKeys{keyStore: s.options.Authenticate.APIKeys}
		s.options.Authenticate.APIKeys = keys
		s.mount(t)
		var own, other []*client
		for range streams {
			own = append(own, s.connect(t, s.request(t, "", "Accept", asStream)))
			other = append(other, s.connect(t, s.request(t, "", "Accept", asStream,
				"Authorization", s.keys["unbound reader"])))
		}
		time.Sleep(time.Second) // of the bubble's: all are open
		before := keys.lookUps.Load()
		time.Sleep(time.Minute)
		if got := keys.lookUps.Load() - before; got < 2*5 || got > 2*9 {
			t.Errorf("%d look-ups of two keys in a minute, want 6 to 8 each", got)
		}
		s.deleteKey(t, "reader")
		time.Sleep(11 * time.Second)
		for _, c := range own {
			if c.untilEnd(t); c.end.Event != "bye" {
				t.Errorf("a stream of the deleted key ended with %q", c.end.Event)
			}
		}
		for _, c := range other {
			if c.drain(); last(c.seen, "bye").Event != "" {
				t.Error("a stream of another key ended")
			}
			c.cancel()
		}
		time.Sleep(20 * time.Second)
		before = keys.lookUps.Load()
		time.Sleep(time.Minute)
		if got := keys.lookUps.Load() - before; got != 0 {
			t.Errorf("%d look-ups after all streams have ended", got)
		}
	})
}

// countedKeys counts look-ups.
type countedKeys struct {
	keyStore
	lookUps atomic.Int64
}

func (k *countedKeys) APIKeyByHash(ctx context.Context, hashes ...string) (domain.APIKey, error) {
	k.lookUps.Add(1)
	return k.keyStore.APIKeyByHash(ctx, hashes...)
}

// An outage of the store that holds API keys must not make every resource server stale. The feed has connections of
// its own, and notices when those fail.
func TestAStreamSurvivesAStoreThatCannotCheckItsPermission(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		c := s.connect(t, s.request(t, "", "Accept", asStream))
		c.next(t)
		s.outage.Store(true)
		time.Sleep(5 * time.Minute)
		if c.drain(); c.end.Event != "" {
			t.Errorf("it ended with %s", c.end.Data)
		}
		s.deleteKey(t, "reader")
		s.outage.Store(false)
		restored := time.Now()
		c.untilEnd(t)
		if took := time.Since(restored); took > 11*time.Second { // of the bubble's
			t.Errorf("the key was removed meanwhile, and the stream ended %v after the store was back", took)
		}
	})
}

// The access tokens of a deleted tenant are valid until they expire, unless its resource servers get its mark. It may
// be unread when the permission is lost.
func TestTheMarkOfADeletedTenantIsSentBeforeTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newIdleService(t)
		s.start(t, s.store)
		c := s.connect(t, s.request(t, "", "Accept", asStream))
		c.next(t)
		for range 30 {
			time.Sleep(700 * time.Millisecond) // of the bubble's
			c.drain()
		}
		s.deleteTenant(t, acme)
		c.untilEnd(t)
		marked := slices.ContainsFunc(c.seen, func(f frame) bool { return len(f.data.Marks) > 0 })
		if !marked || c.end.Event != "bye" {
			t.Errorf("got %s, want facts with a mark, and bye", named(c.seen))
		}
		s.wantEnding(t, "refused")
	})
}

// The feed may be slow: it may be in a read that began before the permission was lost. The facts after the refusal
// are from a read that began after it.
func TestAStreamThatIsRefusedHasAViewOfAfterTheRefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		c := s.connect(t, s.request(t, "", "Accept", asStream))
		c.next(t)
		s.facts.slow.Store(int64(900 * time.Millisecond))
		time.Sleep(3 * time.Second) // of the bubble's
		// Facts that become visible when the permission is checked: the check is what the test's store notices.
		s.onCheck(func() { s.facts.revoke(7, domain.Fact{TenantID: acme, Epoch: 1}) })
		s.deleteKey(t, "reader")
		c.untilEnd(t)
		if f := last(c.seen, "facts"); len(f.data.Marks) != 1 {
			t.Errorf("got %s, want facts with the mark", named(c.seen))
		}
	})
}

// While the process stops, clients learn that they should connect to another replica.
func TestAStopSaysBye(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		v := s.serve(t)
		stream, poll := v.send(t, s.request(t, "", "Accept", asStream)), v.send(t, s.request(t, "?cursor=0&wait=25"))
		time.Sleep(2 * time.Second)
		begun := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := v.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		if took := time.Since(begun); took > 2*time.Second { // of the bubble's
			t.Errorf("the stop took %v", took)
		}
		if all := events(t, <-stream); last(all, "bye").Event != "bye" {
			t.Errorf("the stream got %s", named(all))
		}
		if all := array(t, <-poll); named(all) != "hello fresh bye" {
			t.Errorf("the long poll got %s", named(all))
		}
		s.wantEnding(t, "stop")
	})
}

// A proof is due with the first view, and then every 10 seconds. It says what the fresh before it says.
func TestProofsAreSentToWhoSendsANonce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		s.facts.revoke(9, session(acme, 1))
		const nonce = "abcdefgh-_123456"
		req := s.request(t, "?nonce="+nonce, "Accept", asStream)
		all := events(t, s.follow(req, 61*time.Second).Body.String())
		proofs := 0
		for i, f := range all {
			if f.Event != "proof" {
				continue
			}
			proofs++
			if want := fmt.Sprintf("acme.%s.9.%d", nonce, *all[i-1].data.E); f.data.JWS != want {
				t.Errorf("got %s after %s, want %s", f.data.JWS, all[i-1].Event, want)
			}
		}
		if !strings.HasPrefix(named(all), "hello facts fresh proof fresh") || proofs < 6 || proofs > 7 {
			t.Errorf("%d proofs in a minute: %s", proofs, named(all))
		}
		if got := named(array(t, s.do(s.request(t, "?nonce="+nonce)).Body.String())); got != "hello facts fresh proof" {
			t.Errorf("a long poll got %s", got)
		}
		if got := named(array(t, s.do(s.request(t, "")).Body.String())); got != "hello facts fresh" {
			t.Errorf("without a nonce: got %s", got)
		}
	})
}

// Keys that cannot be used for a moment delay proofs. They do not end a stream: a client that requires proofs notices.
func TestAProofThatFailsIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		s.unsigned.Store(true)
		c := s.connect(t, s.request(t, "?nonce=abcdefgh-_123456", "Accept", asStream))
		time.Sleep(5 * time.Second)
		c.drain()
		if strings.Contains(named(c.seen), "proof") {
			t.Errorf("got %s", named(c.seen))
		}
		s.unsigned.Store(false)
		time.Sleep(time.Second)
		c.drain()
		if !strings.Contains(named(c.seen), "fresh proof") {
			t.Errorf("got %s", named(c.seen))
		}
		checked(t, c.seen)
	})
}

// A proof may need the store. While that is slow, the frames must come as fast as without proofs.
func TestAProofThatTakesLongDelaysNoFrame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		prove := s.api.Prove
		s.api.Prove = func(
			ctx context.Context, tenantID, nonce string, cursor domain.Position, age time.Duration,
		) (string, error) {
			time.Sleep(7 * time.Second)
			return prove(ctx, tenantID, nonce, cursor, age)
		}
		begun := time.Now()
		req := s.request(t, "?nonce=abcdefgh-_123456", "Accept", asStream)
		all := events(t, s.follow(req, time.Minute).Body.String())
		if fresh := strings.Count(named(all), "fresh"); fresh < 105 || fresh > 121 {
			t.Errorf("%d frames fresh in a minute", fresh)
		}
		if proofs := strings.Count(named(all), "proof"); proofs < 5 || proofs > 6 {
			t.Errorf("%d proofs in a minute", proofs)
		}
		if took := time.Since(begun); took > 61*time.Second { // of the bubble's
			t.Errorf("it ended after %v", took)
		}
		time.Sleep(10 * time.Second) // of the bubble's: the last proof is made
	})
}

// A client that does not read must not hold memory and a place. It loses nothing: it resumes with its cursor.
func TestASlowClientIsCutOffAndLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		v := s.serve(t)
		conn, res := v.dial(t, s.request(t, "", "Accept", asStream))
		defer conn.Close()
		cursor, got := "", map[int]bool{}
		lines := bufio.NewScanner(res.Body)
		take := func(f frame) {
			for _, n := range sids(t, []frame{f}) {
				got[n] = true
			}
			if f.Event == "fresh" {
				cursor = f.ID
			}
		}
		for n := 1; n <= 3; n++ {
			s.facts.revoke(domain.Position(n)*60_000_000, session(acme, n))
			for cursor != fmt.Sprint(n*60_000_000) {
				f, ok := scan(t, lines)
				if !ok {
					t.Fatal("the stream has ended")
				}
				take(f)
			}
		}
		// It reads no more. The pipe has no buffer, as a connection whose window is full.
		begun := time.Now()
		for n := 4; n <= 2000; n++ {
			s.facts.revoke(domain.Position(n)*60_000_000, session(acme, n))
		}
		for !strings.Contains(s.log.String(), `"kind":"slow"`) && time.Since(begun) < time.Minute {
			time.Sleep(time.Second)
		}
		if took := time.Since(begun); took > 8*time.Second { // of the bubble's
			t.Errorf("it was cut off after %v, want 5 s", took)
		}
		s.wantEnding(t, "slow")
		again := s.request(t, "", "Accept", asStream, "Last-Event-ID", cursor)
		for _, f := range events(t, s.follow(again, time.Second).Body.String()) {
			take(f)
		}
		for n := 1; n <= 2000; n++ {
			if !got[n] {
				t.Errorf("fact %d was lost", n)
			}
		}
	})
}

// The clients of a replica that has ended come together, and to one that has just started: it knows no API key. Each
// that is refused would be stale for another second.
func TestClientsThatComeTogetherAreAllServed(t *testing.T) {
	for name, test := range map[string]struct {
		lookUp, most time.Duration
		want         int // of all requests
	}{
		"a store that is fast": {3 * time.Millisecond, 2 * time.Second, 200},
		"one that hangs":       {time.Minute, 11 * time.Second, 503},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const clients = 1000
				s := newService(t)
				s.options.Guard = web.NewGuard(web.RateLimits{Running: 4, Streams: 2 * clients}, nil, time.Now, nil)
				s.options.Authenticate.APIKeys = slowKeys{s.options.Authenticate.APIKeys, test.lookUp}
				s.mount(t)
				begun, statuses := time.Now(), make(chan int, clients)
				for i := range clients {
					req := s.request(t, "", "Accept", "application/json")
					req.RemoteAddr = fmt.Sprintf("198.51.%d.%d:1", i/250, i%250)
					go func() {
						rec := httptest.NewRecorder()
						s.handler.ServeHTTP(rec, req)
						statuses <- rec.Code
					}()
				}
				served := map[int]int{}
				for range clients {
					served[<-statuses]++
				}
				if served[test.want] != clients {
					t.Errorf("got the statuses %v, want %d", served, test.want)
				}
				if took := time.Since(begun); took > test.most { // of the bubble's
					t.Errorf("it took %v, want at most %v", took, test.most)
				}
			})
		})
	}
}

// slowKeys takes a while to look an API key up.
type slowKeys struct {
	keyStore
	took time.Duration
}

type keyStore = port.APIKeys

func (k slowKeys) APIKeyByHash(ctx context.Context, hashes ...string) (domain.APIKey, error) {
	select {
	case <-time.After(k.took):
	case <-ctx.Done():
		return domain.APIKey{}, fmt.Errorf("%w: %w", domain.ErrUnavailable, ctx.Err())
	}
	return k.keyStore.APIKeyByHash(ctx, hashes...)
}

// scan reads one event. ok is false at the end.
func scan(t testing.TB, lines *bufio.Scanner) (f frame, ok bool) {
	t.Helper()
	text := ""
	for lines.Scan() && lines.Text() != "" {
		text += lines.Text() + "\n"
	}
	if text == "" {
		return f, false
	}
	for _, line := range strings.Split(text, "\n") {
		name, value, _ := strings.Cut(line, ": ")
		switch name {
		case "event":
			f.Event = value
		case "id":
			f.ID = value
		case "data":
			f.Data = []byte(value)
		}
	}
	parse(t, &f)
	return f, true
}

// The frames of one tenant never hold a fact of another, and each tenant gets all of its own, whatever is revoked while
// streams begin and end.
func TestTenantsAreIsolated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		random := mathrand.New(mathrand.NewPCG(1, 2))
		type reader struct {
			*client
			tenant string
		}
		var readers []reader
		revoked := map[string]int{}
		for step := range 300 {
			tenant := []string{acme, globex}[random.IntN(2)]
			switch random.IntN(4) {
			case 0:
				req := s.request(t, "", "Accept", asStream, "Authorization", s.keys["unbound reader"])
				req.URL.Path = "/t/" + tenant + "/revocations"
				readers = append(readers, reader{s.connect(t, req), tenant})
			case 1:
				time.Sleep(time.Duration(random.IntN(200)) * time.Millisecond)
			default:
				revoked[tenant]++
				f := session(tenant, revoked[tenant])
				if f.SessionID[1] = 'a'; tenant == globex {
					f.SessionID[1] = 'g'
				}
				s.facts.revoke(domain.Position(step), f)
				s.facts.revoke(domain.Position(step), domain.Fact{
					TenantID: tenant, Epoch: uint64(step + 1), UserID: tenant,
				})
			}
		}
		time.Sleep(2 * time.Second)
		for _, r := range readers {
			r.drain()
			sessions, own := map[string]bool{}, base64.RawURLEncoding.EncodeToString([]byte{1, r.tenant[0], 0})
			for _, f := range checked(t, r.seen) {
				for _, sid := range f.data.Sids {
					if sessions[sid] = true; !strings.HasPrefix(sid, own) {
						t.Fatalf("a stream of %s got the session %s", r.tenant, sid)
					}
				}
				for _, mark := range f.data.Marks {
					if user := string(mark[1]); user != strconv.Quote(r.tenant) {
						t.Fatalf("a stream of %s got a mark of %s", r.tenant, user)
					}
				}
				if f.Event == "hello" && f.data.Tenant != r.tenant {
					t.Fatalf("a stream of %s begins with %s", r.tenant, f.Data)
				}
			}
			if len(sessions) != revoked[r.tenant] {
				t.Errorf("a stream of %s got %d sessions, want %d", r.tenant, len(sessions), revoked[r.tenant])
			}
		}
		if len(readers) < 30 || revoked[acme] < 30 || revoked[globex] < 30 {
			t.Errorf("%d streams, revoked %v: too few to mean anything", len(readers), revoked)
		}
	})
}

// Streams that wait at different instants wake together. No stream waits longer than a beat, and no stream spins.
func TestStreamsWakeTogether(t *testing.T) {
	const beat = 500 * time.Millisecond
	wakes := map[time.Duration]bool{}
	for since := time.Hour; since < time.Hour+beat; since += time.Millisecond {
		wait := reachapi.ToBeat(since)
		if wait < beat*4/5 || wait > beat {
			t.Errorf("a stream waits for %s at %s", wait, since)
		}
		wakes[since+wait] = true
	}
	if len(wakes) > 10 {
		t.Errorf("the streams of a beat wake at %d instants", len(wakes))
	}
}
