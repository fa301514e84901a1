package web

import (
	"crypto/rand"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"
)

const requestIDAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"

// requestID returns the client's request id if it is safe in a log and a header, otherwise a new one.
func requestID(header http.Header) string {
	if sent := header.Values(echo.HeaderXRequestID); len(sent) == 1 {
		id := sent[0]
		if 1 <= len(id) && len(id) <= 128 && strings.Trim(id, requestIDAlphabet) == "" {
			return id
		}
	}
	return rand.Text()
}
