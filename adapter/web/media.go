package web

import (
	"mime"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/refreshd/refreshd/adapter/web/strict"
)

// Media is a set of media types that a body may have.
type Media int

const (
	JSON       Media = iota // application/json
	JSONOrForm              // or application/x-www-form-urlencoded
	MergePatch              // application/json, or application/merge-patch+json (RFC 7396, section 4)
	FormOnly                // application/x-www-form-urlencoded (RFC 6749, section 3.2)
)

const mimeMergePatch = "application/merge-patch+json"

// HasBody reports whether the request has a body of at least one byte. Without one, its Content-Type is ignored.
func HasBody(c echo.Context) bool { return len(LogRecord(c).body) > 0 }

// Body decodes the request's body into a T, strictly: see [strict.DecodeJSON] and [strict.DecodeForm]. The error is
// strict.ErrEmptyBody without a body, a 415 if its media type is missing or not in media or if it has a content coding,
// and otherwise a *domain.Invalid.
func Body[T any](c echo.Context, media Media) (T, error) {
	var none T
	if !HasBody(c) {
		return none, strict.ErrEmptyBody
	}
	form, err := isForm(c, media)
	if err != nil {
		return none, err
	}
	if form {
		return strict.DecodeForm[T](string(LogRecord(c).body), dialectOf(c).Decoder)
	}
	return strict.DecodeJSON[T](LogRecord(c).body, dialectOf(c).Decoder)
}

// Patch returns the request's body if it is a JSON Merge Patch (RFC 7396), unread. Its errors are those of [Body],
// except those about the content.
func Patch(c echo.Context) ([]byte, error) {
	if !HasBody(c) {
		return nil, strict.ErrEmptyBody
	}
	_, err := isForm(c, MergePatch)
	return LogRecord(c).body, err
}

// Query decodes the query into a T, strictly: see [strict.DecodeForm]. For an endpoint without parameters T is
// struct{}.
func Query[T any](c echo.Context) (T, error) {
	return strict.DecodeForm[T](c.Request().URL.RawQuery, dialectOf(c).Decoder)
}

func isForm(c echo.Context, media Media) (bool, error) {
	header := c.Request().Header
	for _, codings := range header.Values(echo.HeaderContentEncoding) {
		for coding := range strings.SplitSeq(codings, ",") {
			if !strings.EqualFold(strings.TrimSpace(coding), "identity") {
				c.Response().Header().Set("Accept-Encoding", "identity")
				return false, echo.NewHTTPError(http.StatusUnsupportedMediaType,
					"send the body uncompressed, without a Content-Encoding")
			}
		}
	}
	accept := echo.MIMEApplicationJSON
	switch media {
	case JSONOrForm:
		accept += ", " + echo.MIMEApplicationForm
	case MergePatch:
		accept += ", " + mimeMergePatch
	case FormOnly:
		accept = echo.MIMEApplicationForm
	}
	refuse := func() (bool, error) {
		c.Response().Header().Set("Accept", accept)
		if media == MergePatch {
			c.Response().Header().Set("Accept-Patch", accept) // RFC 5789, section 2.2
		}
		return false, echo.NewHTTPError(http.StatusUnsupportedMediaType,
			"the Content-Type must be one of: "+accept+"; in UTF-8")
	}
	types := header.Values(echo.HeaderContentType)
	if len(types) != 1 {
		return refuse()
	}
	mediaType, params, err := mime.ParseMediaType(types[0])
	if err != nil {
		return refuse()
	}
	if charset, given := params["charset"]; given && !strings.EqualFold(charset, "utf-8") {
		return refuse()
	}
	switch {
	case mediaType == echo.MIMEApplicationJSON && media != FormOnly, mediaType == mimeMergePatch && media == MergePatch:
		return false, nil
	case mediaType == echo.MIMEApplicationForm && (media == JSONOrForm || media == FormOnly):
		return true, nil
	default:
		return refuse()
	}
}
