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
	// MaxBody is the maximum size of a request's body, in bytes, unless its route has another.
	MaxBody = 32 << 10

	shortBody = 2 << 10 // more than any exchange has, with an old access token

	handlerTimeout = 10 * time.Second
)

func tooLarge(most int64) error {
	return echo.NewHTTPError(http.StatusRequestEntityTooLarge, fmt.Sprintf("the body may have at most %d bytes", most))
}

// readBody reads a short body with one allocation of its declared length. For a long body it allocates as data arrives,
// because the client may not send what it declared.
func readBody(c echo.Context, req *http.Request, most int64) ([]byte, error) {
	if req.ContentLength < 0 || req.ContentLength > shortBody {
		return io.ReadAll(http.MaxBytesReader(c.Response().Writer, req.Body, most))
	}
	body := make([]byte, req.ContentLength)
	_, err := io.ReadFull(req.Body, body)
	return body, err
}

// limited bounds a request in size and in time, and returns 404 if no route matches. It reads the whole body, because
// the size must be known before the caller is authenticated. The server bounds the time in which the client sends it;
// the handler's time begins afterwards.
func limited(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		record := LogRecord(c)
		switch {
		case record.path == nil:
			return echo.ErrNotFound
		case record.endpoint == nil:
			return next(c) // echo's 405
		}
		req, most := c.Request(), int64(MaxBody)
		if record.endpoint.MaxBody > 0 {
			most = record.endpoint.MaxBody
		}
		if req.ContentLength > most {
			return tooLarge(most)
		}
		if req.ContentLength != 0 {
			body, err := readBody(c, req, most)
			if tooMany := (*http.MaxBytesError)(nil); errors.As(err, &tooMany) {
				return tooLarge(most)
			}
			if err != nil {
				return domain.NewInvalid("", domain.Malformed, "the body is incomplete")
			}
			record.body = body
		}

		ctx, cancel := context.WithTimeout(req.Context(), handlerTimeout)
		defer cancel()
		record.client = req.Context()
		if ch := &record.charge; ch.guard != nil {
			if err := ch.begin(req.Context(), ctx); err != nil {
				return err
			}
			defer ch.end()
		}
		req = req.WithContext(ctx)
		req.Body = http.NoBody
		c.SetRequest(req)
		return next(c)
	}
}
