package web

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strconv"

	"github.com/labstack/echo/v4"

	"github.com/refreshd/refreshd/domain"
)

// statuses is the one table from errors to statuses. The first that matches counts, so that a store that cannot be reached is
// never taken for a refusal, whatever else was wrapped.
var statuses = []struct {
	err    error
	status int
}{
	{domain.ErrUnavailable, http.StatusServiceUnavailable},
	{domain.ErrBusy, http.StatusServiceUnavailable},
	{domain.ErrConflict, http.StatusServiceUnavailable},
	{context.DeadlineExceeded, http.StatusServiceUnavailable},
	{context.Canceled, http.StatusServiceUnavailable},
	{domain.ErrUnauthorized, http.StatusUnauthorized},
	{domain.ErrNotFound, http.StatusNotFound},
	{domain.ErrDuplicate, http.StatusBadRequest},
}

// Status is the status that answers err. What nobody thought of is a fault of ours: 500.
func Status(err error) int {
	if panicked := (*panicError)(nil); errors.As(err, &panicked) {
		return http.StatusInternalServerError
	}
	if refused := (*Refused)(nil); errors.As(err, &refused) {
		return refused.status()
	}
	for _, s := range statuses {
		if errors.Is(err, s.err) {
			return s.status
		}
	}
	if invalid := (*domain.Invalid)(nil); errors.As(err, &invalid) {
		return http.StatusBadRequest
	}
	if he := (*echo.HTTPError)(nil); errors.As(err, &he) && he.Code >= 400 && he.Code <= 599 {
		return he.Code
	}
	return http.StatusInternalServerError
}

// FieldErrors is what a 400 has to tell: the fields of a *domain.Invalid, else one problem with the input as a whole.
func FieldErrors(err error) []domain.FieldError {
	if invalid := (*domain.Invalid)(nil); errors.As(err, &invalid) {
		return invalid.Fields
	}
	if errors.Is(err, domain.ErrDuplicate) {
		return []domain.FieldError{{Reason: domain.Duplicate, Message: "the id or name is taken; choose another"}}
	}
	return []domain.FieldError{{Reason: domain.Malformed, Message: Message(err)}}
}

// Message is a sentence for people about an answer that has a body, without anything internal.
func Message(err error) string {
	if he := (*echo.HTTPError)(nil); errors.As(err, &he) {
		if s, ok := he.Message.(string); ok {
			return s
		}
	}
	return http.StatusText(Status(err))
}

// A Renderer writes the body of a refusal, in the dialect's way, with the given status.
type Renderer func(c echo.Context, status int, err error) error

// newErrorHandler answers errors. 401 and 404 tell nothing to strangers, and 5xx nothing internal: they have no body.
// For all others it calls render. Headers that the status asks for are set before, unless the handler did.
func newErrorHandler(render Renderer) echo.HTTPErrorHandler {
	return func(err error, c echo.Context) {
		if c.Response().Committed {
			return
		}
		status := Status(err)
		header := c.Response().Header()
		setDefault := func(name, value string) {
			if header.Get(name) == "" {
				header.Set(name, value)
			}
		}
		switch status {
		case http.StatusUnauthorized:
			setDefault(echo.HeaderWWWAuthenticate, `Bearer realm="refreshd"`)
		case http.StatusServiceUnavailable, http.StatusTooManyRequests:
			seconds := 1
			if refused := (*Refused)(nil); errors.As(err, &refused) {
				seconds = refused.seconds()
			}
			setDefault(echo.HeaderRetryAfter, strconv.Itoa(seconds))
		}
		if status == http.StatusUnauthorized || status == http.StatusNotFound || status >= 500 {
			header.Del(echo.HeaderContentType)
			header.Del(echo.HeaderContentLength)
			if refused := (*Refused)(nil); errors.As(err, &refused) {
				header.Set(echo.HeaderContentLength, "0") // so that it can be sent before the handler returns
			}
			c.Response().WriteHeader(status)
			return
		}
		if failed := render(c, status, err); failed != nil {
			level := slog.LevelWarn // most likely the client left while it was written
			if !c.Response().Committed {
				level = slog.LevelError
				c.Response().WriteHeader(http.StatusInternalServerError)
			}
			Note(c).Raise(level, slog.String("answer", failed.Error()))
		}
	}
}
