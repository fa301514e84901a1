package web_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/refreshd/refreshd/adapter/web"
	"github.com/refreshd/refreshd/domain"
)

type noWriter struct{ h http.Header }

func (w noWriter) Header() http.Header         { return w.h }
func (w noWriter) Write(p []byte) (int, error) { return len(p), nil }
func (w noWriter) WriteHeader(int)             {}

// BenchmarkGuard measures an exchange through all of this package, with and without a guard. Its handler does nothing.
func BenchmarkGuard(b *testing.B) {
	for _, on := range []bool{false, true} {
		b.Run(fmt.Sprintf("guard=%v", on), func(b *testing.B) {
			g := web.NewGuard(web.RateLimits{Address: 1e6, APIKey: 1e6, RefreshToken: 1e6}, nil, time.Now, nil)
			o := web.Options{Log: slog.New(slog.DiscardHandler)}
			if on {
				o.Guard = g
			}
			exchange := func(c echo.Context) error {
				if on {
					presented := domain.PresentedToken{ID: domain.ID{c.Request().RemoteAddr[10]}}
					if err := web.LogRecord(c).AdmitExchange(presented, false); err != nil {
						return err
					}
					web.LogRecord(c).ChargeExchange(true)
				}
				return c.NoContent(http.StatusOK)
			}
			e, err := web.New(o, web.Dialect{
				Routes: []web.Route{{Method: "POST", Path: "/exchange", Anybody: true, Kind: web.Exchange, Handle: exchange}},
				Render: func(c echo.Context, status int, err error) error { return c.String(status, web.Message(status, err)) },
			})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			var workers atomic.Int64
			b.RunParallel(func(pb *testing.PB) {
				req := httptest.NewRequest("POST", "/exchange", nil)
				req.RemoteAddr = fmt.Sprintf("192.0.2.%d:1", workers.Add(1))
				body := strings.NewReader("{}")
				req.ContentLength = 2
				w := noWriter{http.Header{}}
				for pb.Next() {
					body.Reset("{}")
					req.Body = http.NoBody
					req.Body = bodyOf{body}
					e.ServeHTTP(w, req)
				}
			})
		})
	}
}

type bodyOf struct{ *strings.Reader }

func (bodyOf) Close() error { return nil }
