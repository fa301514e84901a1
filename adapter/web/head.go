package web

import (
	"net/http"
	"strconv"

	"github.com/labstack/echo/v4"
)

// headAsGET is the middleware that responds to HEAD as to GET, without the body (RFC 9110, section 9.3.2).
func headAsGET(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if c.Request().Method != http.MethodHead {
			return next(c)
		}
		w := &headWriter{ResponseWriter: c.Response().Writer}
		c.Response().Writer = w
		err := next(c)
		w.send()
		return err
	}
}

// headWriter counts the body instead of sending it, and then sends the header with the body's length. net/http drops
// the body of a response to HEAD too, but also its length.
type headWriter struct {
	http.ResponseWriter
	status, length int
	sent           bool
}

func (w *headWriter) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
}

func (w *headWriter) Write(p []byte) (int, error) {
	w.length += len(p)
	return len(p), nil
}

// FlushError implements the interface that http.ResponseController uses.
func (w *headWriter) FlushError() error {
	w.send()
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Unwrap serves the other methods of http.ResponseController.
func (w *headWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *headWriter) send() {
	if w.sent {
		return
	}
	w.sent = true
	if w.status == 0 {
		w.status = http.StatusOK
	}
	header := w.Header()
	bodiless := w.status == http.StatusNoContent || w.status == http.StatusNotModified
	if !bodiless && header.Get(echo.HeaderContentLength) == "" {
		header.Set(echo.HeaderContentLength, strconv.Itoa(w.length))
	}
	w.ResponseWriter.WriteHeader(w.status)
}
