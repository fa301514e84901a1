package reachapi

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/refreshd/refreshd/adapter/web"
)

// envelope is the body of every refusal that has one. It is that of the API of tokens, so that a client needs one
// reader of refusals for both.
type envelope struct {
	Success bool     `json:"success"`
	Message string   `json:"message"`
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

// renderRefusal writes all refusals. 401, 404 and 5xx have no body, so they reveal neither tenants nor internal
// details.
func renderRefusal(c echo.Context, status int, err error) error {
	refused := (*web.Refused)(nil)
	switch {
	case status == http.StatusUnauthorized || status == http.StatusNotFound || status >= 500:
		return web.NoBody(c, status)
	case errors.As(err, &refused):
		return c.JSON(status, envelope{Message: "Too many requests.", Errors: &refusal{GeneralErrors: []problem{{
			Code:    "[tooMany]" + refused.Reason,
			Message: fmt.Sprintf("%s: wait for Retry-After seconds, then send the request again", refused),
		}}}})
	case status != http.StatusBadRequest:
		return c.JSON(status, envelope{Message: web.Message(status, err)})
	}
	r := &refusal{FieldErrors: map[string][]problem{}}
	for _, f := range web.FieldErrors(err) {
		p := problem{Code: f.Code(), Message: f.Text()}
		if f.Field == "" {
			r.GeneralErrors = append(r.GeneralErrors, p)
			continue
		}
		r.FieldErrors[f.Field] = append(r.FieldErrors[f.Field], p)
	}
	return c.JSON(status, envelope{Message: "The request is not valid.", Errors: r})
}
