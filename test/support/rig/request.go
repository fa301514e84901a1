package rig

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// Request is a request to a service. Zero fields are not sent.
type Request struct {
	Method, Path string
	Body         string
	Media        string            // of the body; default application/json
	Key, Tenant  string            // of a backend
	Header       map[string]string // further headers, or other values of those above; Host too
}

// Response is a response that was read to its end.
type Response struct {
	Status int
	Header http.Header
	Body   []byte
}

func (r Response) String() string { return fmt.Sprintf("%d %s", r.Status, r.Body) }

// Head calls set with each header.
func (r Request) Head(set func(name, value string)) {
	if r.Key != "" {
		set("Authorization", r.Key)
	}
	if r.Tenant != "" {
		set("X-Stencil-TenantId", r.Tenant)
	}
	if r.Body != "" || r.Media != "" {
		set("Content-Type", cmp.Or(r.Media, "application/json"))
	}
	for name, value := range r.Header {
		set(name, value)
	}
}

// Do sends r to the service at host:port. A response is not an error, whatever its status.
func (r Request) Do(ctx context.Context, client *http.Client, address string) (Response, error) {
	request, err := http.NewRequestWithContext(ctx, r.Method, "http://"+address+r.Path, strings.NewReader(r.Body))
	if err != nil {
		return Response{}, err
	}
	r.Head(func(name, value string) {
		if name == "Host" {
			request.Host = value
			return
		}
		request.Header.Set(name, value)
	})
	response, err := client.Do(request)
	if err != nil {
		return Response{}, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return Response{response.StatusCode, response.Header, body}, err
}

// Bytes returns the request as HTTP/1.1 sends it, for clients that send many.
func (r Request) Bytes(host string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", r.Method, r.Path, host)
	r.Head(func(name, value string) { fmt.Fprintf(&b, "%s: %s\r\n", name, value) })
	if r.Body != "" {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(r.Body))
	}
	b.WriteString("\r\n" + r.Body)
	return b.Bytes()
}

// Data decodes the field data of a response with status 200.
func (r Response) Data(to any) error {
	if r.Status != http.StatusOK {
		return fmt.Errorf("got %s, want 200", r)
	}
	envelope := struct{ Data any }{to}
	return json.Unmarshal(r.Body, &envelope)
}
