package web

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/refreshd/refreshd/domain"
)

const (
	// MaxBody is how long a request's body may be, in bytes.
	MaxBody = 32 << 10

	shortBody = 2 << 10 // longer than any exchange's, with an old access token

	handlerTimeout = 10 * time.Second
)

var errTooLarge = echo.NewHTTPError(http.StatusRequestEntityTooLarge, fmt.Sprintf("the body may have at most %d bytes", MaxBody))

// readBody reads a short body at one go. The length is the client's word: memory for a long one is taken as it comes.
func readBody(c echo.Context, req *http.Request) ([]byte, error) {
	if req.ContentLength < 0 || req.ContentLength > shortBody {
		return io.ReadAll(http.MaxBytesReader(c.Response().Writer, req.Body, MaxBody))
	}
	body := make([]byte, req.ContentLength)
	_, err := io.ReadFull(req.Body, body)
	return body, err
}

// isWrongMethod tells whether the answer is 405.
func isWrongMethod(c echo.Context) bool {
	_, wrong := c.Get(echo.ContextKeyHeaderAllow).(string)
	return wrong
}

// limited bounds a request in size and in time, and answers 404 where no route is meant. The body is read here, whole,
// since its size is to be known before the handler asks who is calling. Time that the client takes to send it is the
// server's to bound: the handler's own begins after that.
func limited(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if c.Path() == "" {
			return echo.ErrNotFound
		}
		if isWrongMethod(c) {
			return next(c)
		}
		req := c.Request()
		if req.ContentLength > MaxBody {
			return errTooLarge
		}
		if req.ContentLength != 0 {
			body, err := readBody(c, req)
			if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
				return errTooLarge
			}
			if err != nil {
				return domain.NewInvalid("", domain.Malformed, "the body broke off before its end")
			}
			Note(c).body = body
		}

		ctx, cancel := context.WithTimeout(req.Context(), handlerTimeout)
		defer cancel()
		if p := &Note(c).payer; p.guard != nil {
			if err := p.begin(req.Context(), ctx); err != nil {
				return err
			}
			defer p.end()
		}
		req = req.WithContext(ctx)
		req.Body = http.NoBody
		c.SetRequest(req)
		return next(c)
	}
}
