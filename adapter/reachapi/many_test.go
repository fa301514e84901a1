package reachapi_test

import (
	"bufio"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/refreshd/refreshd/adapter/web"
	"github.com/refreshd/refreshd/domain"
)

// Each of many clients on real connections gets each fact, in frames without a gap, and a bye when the server stops. A
// busy machine may end a stream, because the feed is late or the client is: then the client resumes. The other tests
// run alone in the time of a bubble.
func TestManyClientsGetEveryFact(t *testing.T) {
	const clients, facts = 100, 20
	s := newService(t)
	s.options.Guard = web.NewGuard(web.RateLimits{Streams: 2*clients + 2}, nil, s.options.Authenticate.Clock, nil)
	s.mount(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	v := web.NewServer(s.handler, slog.New(slog.DiscardHandler))
	go func() { _ = v.Serve(l) }()

	var said atomic.Int32 // of byes
	var reading, begun, complete sync.WaitGroup
	begun.Add(clients)
	complete.Add(clients)
	for range clients {
		reading.Go(func() {
			got, cursor := map[int]bool{}, "0"
			hasBegun, isComplete := sync.OnceFunc(begun.Done), sync.OnceFunc(complete.Done)
			// follow reads one response to its end, which it returns.
			follow := func() string {
				conn, err := net.Dial("tcp", l.Addr().String())
				if err != nil {
					return ""
				}
				defer conn.Close()
				req := s.request(t, "", "Accept", asStream, "Last-Event-ID", cursor)
				_ = req.Write(conn) // the response is missing then
				res, err := http.ReadResponse(bufio.NewReader(conn), req)
				if err != nil || res.StatusCode != 200 {
					return ""
				}
				var all []frame
				for lines := bufio.NewScanner(res.Body); ; {
					f, ok := scan(t, lines)
					if !ok {
						return named(checked(t, all))
					}
					all = append(all, f)
					hasBegun()
					for _, n := range sids(t, []frame{f}) {
						got[n] = true
					}
					if f.Event == "fresh" {
						cursor = f.ID
					}
					if len(got) == facts {
						isComplete()
					}
				}
			}
			end := ""
			for len(got) < facts {
				end = follow()
			}
			if strings.HasSuffix(end, "bye") {
				said.Add(1)
			}
		})
	}
	begun.Wait()
	for n := 1; n <= facts; n++ {
		s.facts.revoke(domain.Position(n), session(acme, n))
		s.do(s.request(t, "")) // a read takes place
	}
	complete.Wait()
	if err := v.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	reading.Wait()
	if said.Load() == 0 {
		t.Error("no client got a bye")
	}
}
