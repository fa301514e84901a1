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
	// MaxBody is how long a request's body may be, in bytes, unless its route says otherwise.
	MaxBody = 32 << 10

	shortBody = 2 << 10 // longer than any exchange's, with an old access token

	handlerTimeout = 10 * time.Second
)

func tooLarge(most int64) error {
	return echo.NewHTTPError(http.StatusRequestEntityTooLarge, fmt.Sprintf("the body may have at most %d bytes", most))
}

// readBody reads a short body at one go. The length is the client's word: memory for a long one is taken as it comes.
func readBody(c echo.Context, req *http.Request, most int64) ([]byte, error) {
	if req.ContentLength < 0 || req.ContentLength > shortBody {
		return io.ReadAll(http.MaxBytesReader(c.Response().Writer, req.Body, most))
	}
	body := make([]byte, req.ContentLength)
	_, err := io.ReadFull(req.Body, body)
	return body, err
}

// limited bounds a request in size and in time, and answers 404 where no route is meant. The body is read here, whole,
// since its size is to be known before the handler asks who is calling. Time that the client takes to send it is the
// server's to bound: the handler's own begins after that.
func limited(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		record := Note(c)
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
				return domain.NewInvalid("", domain.Malformed, "the body broke off before its end")
			}
			record.body = body
		}

		ctx, cancel := context.WithTimeout(req.Context(), handlerTimeout)
		defer cancel()
		record.client = req.Context()
		if p := &record.payer; p.guard != nil {
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
