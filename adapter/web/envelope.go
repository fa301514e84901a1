package web

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"

	"github.com/labstack/echo/v4"

	"github.com/refreshd/refreshd/domain"
)

// envelope is the body of every response of the JSON dialects that has one, except key sets, documents and frames. A
// client needs one reader for all of them.
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
	// SafeInstant is from when on the step of a domain.UnsafeStep is safe; omitted if waiting does not make it so.
	SafeInstant int64 `json:"safeInstant,omitempty"`
}

// Done responds with 200 and data, which may be nil, in the envelope.
func Done(c echo.Context, message string, data any) error {
	return DoneAs(c, http.StatusOK, message, data)
}

// DoneAs is Done with another status of success.
func DoneAs(c echo.Context, status int, message string, data any) error {
	return c.JSON(status, envelope{Success: true, Message: message, Data: data})
}

// DoneRows is Done with an array of rows that are already JSON. It sends them one after another, because a buffer for
// all of them would hold them twice, and up to four times if it grows by doubling.
func DoneRows(c echo.Context, message string, rows [][]byte) error {
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

// Refuse responds with 400 and these errors, in the envelope.
func Refuse(c echo.Context, message string, fields []domain.FieldError) error {
	return refuse(c, http.StatusBadRequest, message, fields)
}

func refuse(c echo.Context, status int, message string, fields []domain.FieldError) error {
	r := &refusal{}
	for _, f := range fields {
		p := problem{Code: f.Code(), Message: f.Text()}
		if f.Field == "" {
			r.GeneralErrors = append(r.GeneralErrors, p)
			continue
		}
		if r.FieldErrors == nil {
			r.FieldErrors = map[string][]problem{}
		}
		r.FieldErrors[f.Field] = append(r.FieldErrors[f.Field], p)
	}
	return c.JSON(status, envelope{Message: message, Errors: r})
}

// RenderEnvelope is the [Renderer] of the envelope. 401, 404 and 5xx have no body, so they reveal neither objects nor
// internal details.
func RenderEnvelope(c echo.Context, status int, err error) error {
	refused, unsafe := (*Refused)(nil), (*domain.UnsafeStep)(nil)
	switch {
	case status == http.StatusUnauthorized || status == http.StatusNotFound || status >= 500:
		return NoBody(c, status)
	case errors.As(err, &refused):
		return c.JSON(status, envelope{Message: tooMany, Errors: &refusal{GeneralErrors: []problem{{
			Code:    "[tooMany]" + refused.Reason,
			Message: fmt.Sprintf("%s: wait for Retry-After seconds, then send the request again", refused),
		}}}})
	case status == http.StatusBadRequest:
		return Refuse(c, "The request is not valid: nothing was done.", FieldErrors(err))
	case errors.As(err, &unsafe):
		p := problem{Code: "[unsafe]", Message: unsafe.Error()}
		if !unsafe.Until.IsZero() {
			p.SafeInstant = unsafe.Until.UnixMilli()
		}
		return c.JSON(status, envelope{
			Message: "This is not safe now: nothing was done.", Errors: &refusal{GeneralErrors: []problem{p}},
		})
	case status == http.StatusConflict:
		return refuse(c, status, "The object is in another state: nothing was done.", FieldErrors(err))
	case errors.Is(err, domain.ErrStale):
		return refuse(c, status, "The object has changed: nothing was done.", FieldErrors(err))
	}
	return c.JSON(status, envelope{Message: Message(status, err)})
}

const tooMany = "Too many requests: nothing was done."
