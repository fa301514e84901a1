package web_test

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/refreshd/refreshd/adapter/web"
	"github.com/refreshd/refreshd/domain"
)

// A dialect defines the format of its refusals. Its handlers decode strictly, return errors and add to the log line.
func Example() {
	greet := func(c echo.Context) error {
		tenant := web.PathParam(c, "tenant")
		if tenant != "acme" {
			return domain.ErrNotFound
		}
		web.LogRecord(c).Tenant = tenant
		if _, err := web.Query[struct{}](c); err != nil {
			return err
		}
		in, err := web.Body[struct {
			UserID *string `json:"userId" alias:"userID"`
		}](c, web.JSONOrForm)
		if err != nil {
			return err
		}
		if in.UserID == nil {
			return domain.NewInvalid("userId", domain.Blank, "say whom to greet")
		}
		web.LogRecord(c).Outcome = "greeted"
		web.NoStore(c)
		return c.JSON(http.StatusOK, map[string]any{"hello": *in.UserID})
	}
	e, err := web.New(web.Options{Log: slog.New(slog.NewTextHandler(io.Discard, nil))}, web.Dialect{
		Routes: []web.Route{{Method: "POST", Path: "/greet/:tenant", Anybody: true, Handle: greet}},
		Render: func(c echo.Context, status int, err error) error {
			if status != http.StatusBadRequest {
				return c.JSON(status, map[string]any{"message": web.Message(status, err)})
			}
			var codes []string
			for _, f := range web.FieldErrors(err) {
				codes = append(codes, f.Code())
			}
			return c.JSON(status, map[string]any{"codes": codes})
		},
	})
	if err != nil {
		panic(err)
	}

	for _, body := range []string{`{"userID":"ann"}`, `{"userid":"ann","userId":1}`, `{}`} {
		req := httptest.NewRequest("POST", "/greet/acme/", strings.NewReader(body))
		req.Header.Set("Content-Type", "application/json")
		rec := httptest.NewRecorder()
		e.ServeHTTP(rec, req)
		fmt.Print(rec.Code, " ", rec.Body)
	}
	// Output:
	// 200 {"hello":"ann"}
	// 400 {"codes":["[unknown]userid","[invalid]userId"]}
	// 400 {"codes":["[blank]userId"]}
}
