package httpapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/refreshd/refreshd/adapter/web"
	"github.com/refreshd/refreshd/domain"
)

// envelope is the body of every response that has one, except key sets and documents.
type envelope struct {
	Success bool     `json:"success"`
	Message string   `json:"message"`
	Data    any      `json:"data,omitempty"`
	Errors  *refusal `json:"errors,omitempty"`
}

type refusal struct {
	FieldErrors   map[string][]problem `json:"fieldErrors,omitempty"`
	GeneralErrors []problem            `json:"generalErrors,omitempty"`
}

type problem struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

func done(c echo.Context, message string, data any) error {
	return c.JSON(http.StatusOK, envelope{Success: true, Message: message, Data: data})
}

// doneRows is done with an array of rows that are already JSON. It sends them one after another, because a buffer for
// all of them would hold them twice, and up to four times if it grows by doubling.
func doneRows(c echo.Context, message string, rows [][]byte) error {
	text, err := json.Marshal(message)
	if err != nil {
		return err
	}
	parts := net.Buffers{[]byte(`{"success":true,"message":` + string(text) + `,"data":[`)}
	for i, row := range rows {
		if i > 0 {
			parts = append(parts, []byte(","))
		}
		parts = append(parts, row)
	}
	parts = append(parts, []byte("]}\n"))
	length := 0
	for _, part := range parts {
		length += len(part)
	}
	header := c.Response().Header()
	header.Set(echo.HeaderContentType, echo.MIMEApplicationJSON)
	header.Set(echo.HeaderContentLength, strconv.Itoa(length))
	_, err = parts.WriteTo(c.Response())
	return err
}

// renderRefusal writes all refusals. 401, 404 and 5xx have no body, so they reveal neither objects nor internal
// details.
func renderRefusal(c echo.Context, status int, err error) error {
	if status == http.StatusUnauthorized || status == http.StatusNotFound || status >= 500 {
		return web.NoBody(c, status)
	}
	if refused := (*web.Refused)(nil); errors.As(err, &refused) {
		return c.JSON(status, envelope{Message: tooMany, Errors: &refusal{GeneralErrors: []problem{{
			Code:    "[tooMany]" + refused.Reason,
			Message: fmt.Sprintf("%s: wait for Retry-After seconds, then send the request again", refused),
		}}}})
	}
	if status != http.StatusBadRequest {
		return c.JSON(status, envelope{Message: web.Message(status, err)})
	}
	return refuse(c, "The request is not valid: nothing was done.", web.FieldErrors(err))
}

// refuse responds with 400.
func refuse(c echo.Context, message string, fields []domain.FieldError) error {
	r := &refusal{}
	for _, f := range fields {
		p := problem{Code: f.Code(), Message: f.Message}
		if f.Field == "" {
			r.GeneralErrors = append(r.GeneralErrors, p)
			continue
		}
		if r.FieldErrors == nil {
			r.FieldErrors = map[string][]problem{}
		}
		r.FieldErrors[f.Field] = append(r.FieldErrors[f.Field], p)
	}
	return c.JSON(http.StatusBadRequest, envelope{Message: message, Errors: r})
}

const tooMany = "Too many requests: nothing was done."

// milliseconds returns a time as the API represents it, in milliseconds since 1970.
func milliseconds(t time.Time) int64 { return t.UnixMilli() }
