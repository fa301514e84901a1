package web_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/refreshd/refreshd/adapter/web"
)

// A stream does not end because its context's cause is unknown to it: a server that stops says so, and a client that
// disconnects does not.
func TestAStreamLearnsWhyItEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		causes := make(chan error, 1)
		s := newStreamingServer(t, func(s *site) {
			s.add(web.Route{Method: "GET", Path: "/why", Stream: true, Handle: func(c echo.Context) error {
				c.Response().WriteHeader(200)
				c.Response().Flush()
				<-c.Request().Context().Done()
				causes <- context.Cause(c.Request().Context())
				return nil
			}})
		})
		left, in := s.get(t, "/why")
		if _, err := http.ReadResponse(in, nil); err != nil {
			t.Fatal(err)
		}
		left.Close()
		if cause := <-causes; errors.Is(cause, web.ErrStopping) {
			t.Errorf("its client disconnected, and the cause is %v", cause)
		}
		stays, in := s.get(t, "/why")
		if _, err := http.ReadResponse(in, nil); err != nil {
			t.Fatal(err)
		}
		s.stop(t)
		if cause := <-causes; !errors.Is(cause, web.ErrStopping) {
			t.Errorf("the server stopped, and the cause is %v", cause)
		}
		stays.Close()
	})
}

// A dialect for backends gives no page in a browser a right, also beside one that does.
func TestADialectForBackendsHasNoHeadersForBrowsers(t *testing.T) {
	const origin = "https://app.example"
	for _, backendOnly := range []bool{false, true} {
		s := newSite(t, func(s *site) {
			s.options.Pages.Origins, _ = web.ParseOrigins([]string{origin})
			s.dialect.BackendOnly = backendOnly
			s.GET("/x", ok)
		})
		for _, method := range []string{"GET", "OPTIONS"} {
			req := httptest.NewRequest(method, "/x", nil)
			req.Header.Set("Origin", origin)
			req.Header.Set("Access-Control-Request-Method", "GET")
			rec := httptest.NewRecorder()
			s.ServeHTTP(rec, req)
			allowed := false
			for name := range rec.Header() {
				allowed = allowed || strings.HasPrefix(name, "Access-Control-")
			}
			if allowed == backendOnly {
				t.Errorf("%s, for backends only %t: got %v", method, backendOnly, rec.Header())
			}
		}
	}
}

// The age of a view counts from the arrival of its request. What the request waits for counts.
func TestARecordHasTheArrivalOfItsRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var arrived time.Time
		s := newSite(t, nil)
		s.POST("/x", func(c echo.Context) error {
			arrived = web.LogRecord(c).Arrived
			return ok(c)
		})
		began := time.Now()
		req := httptest.NewRequest("POST", "/x", slow{time.Second})
		req.ContentLength = -1
		s.ServeHTTP(httptest.NewRecorder(), req)
		if !arrived.Equal(began) {
			t.Errorf("got %v, want %v", arrived, began)
		}
	})
}

// slow is a body that takes a while.
type slow struct{ d time.Duration }

func (s slow) Read([]byte) (int, error) {
	time.Sleep(s.d)
	return 0, io.EOF
}
