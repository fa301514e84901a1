package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
)

// response is an HTTP response. Reading the next one reuses its slices.
type response struct {
	status        int
	outcome, body []byte // outcome is the header Refreshd-Outcome
}

func (a *response) read(r *bufio.Reader) error {
	length, err := a.readHead(r)
	switch {
	case err != nil:
	case length >= 0:
		a.body, err = readPart(r, a.body[:0], length)
	default:
		a.body, err = readChunks(r, a.body[:0])
	}
	if err != nil {
		a.status = 0
		return fmt.Errorf("read a response: %w", err)
	}
	return nil
}

// readHead reads status and headers. length is the length of the body, or -1 if it is chunked.
func (a *response) readHead(r *bufio.Reader) (length int, err error) {
	line, err := r.ReadSlice('\n')
	if err != nil {
		return 0, err
	}
	if len(line) < len("HTTP/1.1 200") || !bytes.HasPrefix(line, []byte("HTTP/1.1 ")) {
		return 0, fmt.Errorf("%q is not a status line", line)
	}
	if a.status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return 0, fmt.Errorf("%q is not a status line", line)
	}
	a.outcome = a.outcome[:0]
	length = -1
	chunked := false
	for {
		if line, err = r.ReadSlice('\n'); err != nil {
			return 0, err
		}
		name, value, found := bytes.Cut(bytes.TrimRight(line, "\r\n"), []byte(": "))
		switch {
		case !found && length < 0 && !chunked:
			return 0, errors.New("it has neither a length nor a chunked body")
		case !found:
			return length, nil
		case bytes.EqualFold(name, []byte("Content-Length")):
			if length, err = strconv.Atoi(string(value)); err != nil {
				return 0, err
			}
		case bytes.EqualFold(name, []byte("Transfer-Encoding")):
			chunked = true
		case bytes.EqualFold(name, []byte("Refreshd-Outcome")):
			a.outcome = append(a.outcome, value...)
		}
	}
}

func readPart(r *bufio.Reader, body []byte, length int) ([]byte, error) {
	n := len(body)
	body = slices.Grow(body, length)[:n+length]
	_, err := io.ReadFull(r, body[n:])
	return body, err
}

func readChunks(r *bufio.Reader, body []byte) ([]byte, error) {
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return body, err
		}
		length, err := strconv.ParseInt(string(bytes.TrimRight(line, "\r\n")), 16, 32)
		if err != nil {
			return body, err
		}
		if body, err = readPart(r, body, int(length)); err != nil {
			return body, err
		}
		if _, err := r.Discard(len("\r\n")); err != nil || length == 0 {
			return body, err
		}
	}
}

// grant is the data of a response to an issue or an exchange. Its slices are parts of the body, and change with it.
type grant struct{ tokenString, id, accessToken []byte }

// tokenStringLength is that of every token string.
const tokenStringLength = len("rt_") + 64

// parseGrant parses a response, and checks what every client relies on: it has a token string, and an access token of
// the same refresh token.
func parseGrant(status int, body []byte) (g grant, err error) {
	if status != 200 {
		return grant{}, fmt.Errorf("got status %d, want 200: %s", status, body)
	}
	g = grant{member(body, `"refreshToken":"`), member(body, `"refreshTokenId":"`), member(body, `"token":"`)}
	if len(g.tokenString) != tokenStringLength || len(g.id) == 0 {
		return grant{}, fmt.Errorf("the response has no token string: %s", body)
	}
	_, rest, _ := bytes.Cut(g.accessToken, []byte("."))
	payload, _, found := bytes.Cut(rest, []byte("."))
	if !found {
		return grant{}, fmt.Errorf("the response has no access token: %s", body)
	}
	var claims [2048]byte
	if base64.RawURLEncoding.DecodedLen(len(payload)) > len(claims) {
		return grant{}, errors.New("the access token is longer than the driver supports")
	}
	n, err := base64.RawURLEncoding.Decode(claims[:], payload)
	if err != nil {
		return grant{}, fmt.Errorf("the access token's claims: %w", err)
	}
	if sid := member(claims[:n], `"sid":"`); !bytes.Equal(sid, g.id) {
		return grant{}, fmt.Errorf("the access token is of refresh token %q, want %q", sid, g.id)
	}
	return g, nil
}

// clone returns a copy that does not change with the response.
func (g grant) clone() grant {
	return grant{bytes.Clone(g.tokenString), bytes.Clone(g.id), bytes.Clone(g.accessToken)}
}

// equal reports whether two responses grant the same tokens. Their seconds left may differ.
func (g grant) equal(other grant) bool {
	return bytes.Equal(g.tokenString, other.tokenString) && bytes.Equal(g.id, other.id) &&
		bytes.Equal(g.accessToken, other.accessToken)
}

// algorithm returns the algorithm in the header of the access token.
func (g grant) algorithm() string {
	header, _, _ := bytes.Cut(g.accessToken, []byte("."))
	text, err := base64.RawURLEncoding.AppendDecode(nil, header)
	if err != nil {
		return ""
	}
	return string(member(text, `"alg":"`))
}

// member returns the value of a JSON string without escapes. The names and values of the service have none.
func member(object []byte, key string) []byte {
	_, rest, _ := bytes.Cut(object, []byte(key))
	value, _, _ := bytes.Cut(rest, []byte(`"`))
	return value
}
