// Package contract checks responses of the service against openapi.yaml: it compares a request and its response with
// what the document says of them. It knows the document and HTTP, and nothing else about the service.
package contract

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
)

// Breaches returns what is wrong with a response: a status that is not documented for the operation, a documented
// header that is missing, a body that does not match its schema, or a body where none is documented. If the response is
// a success, the document must allow the request, credentials included, so that the service cannot accept more than it
// documents.
//
// A request in a spelling that the document does not have is checked as the request that it stands for.
func Breaches(doc *openapi3.T, req *http.Request, reqBody []byte, res *http.Response, resBody []byte) []error {
	reading := Read(doc, req, reqBody)
	route, params := FindRoute(doc, reading.Request.Method, reading.Request.URL)
	if route == nil {
		if req.Method == http.MethodOptions && res.StatusCode == http.StatusNoContent {
			return nil // a preflight: CORS is not in the document
		}
		route = unrouted(doc, params != nil)
	}
	if reading.Form && len(reqBody) > 0 && route.Operation.RequestBody == nil {
		route.Operation = withoutForm(doc, route.Operation)
	}
	documented := route.Operation.Responses.Status(res.StatusCode)
	if documented == nil {
		return []error{errors.New("the status is not documented")}
	}

	var found []error
	if len(documented.Value.Content) == 0 && len(resBody) != 0 {
		found = append(found, fmt.Errorf("a body, and none is documented: %s", resBody))
	}
	isHead := req.Method == http.MethodHead
	if isHead && len(resBody) != 0 {
		found = append(found, fmt.Errorf("a body in a response to HEAD: %s", resBody))
	}
	if carriesToken(resBody) && res.Header.Get("Cache-Control") != "no-store" {
		found = append(found, errors.New("tokens in a response that a cache may keep"))
	}
	if carriesToken(resBody) && route.Operation.OperationID == "exchange" && res.Header.Get("Refreshd-Outcome") == "" {
		found = append(found, errors.New("an exchange without an outcome in its response"))
	}
	request := reading.Request.Clone(context.Background())
	options := &openapi3filter.Options{
		AuthenticationFunc: credentialIsSent, IncludeResponseStatus: true, RejectWhenRequestBodyNotSpecified: true,
		SkipSettingDefaults: true, ExcludeResponseBody: isHead,
	}
	asked := &openapi3filter.RequestValidationInput{Request: request, PathParams: params, Route: route, Options: options}
	answered := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: asked, Status: res.StatusCode, Header: res.Header, Options: options,
	}
	answered.SetBodyBytes(resBody)
	if err := openapi3filter.ValidateResponse(context.Background(), answered); err != nil {
		found = append(found, err)
	}
	// An operation that documents no 400 cannot refuse a query or a body, and reads neither.
	if res.StatusCode/100 == 2 && route.Operation.Responses.Status(http.StatusBadRequest) != nil {
		found = append(found, undocumented(asked)...)
		found = append(found, reading.beyondSchemas(req, resBody)...)
	}
	return found
}

// undocumented returns what the document does not allow in a request that succeeded.
func undocumented(asked *openapi3filter.RequestValidationInput) (found []error) {
	if err := openapi3filter.ValidateRequest(context.Background(), asked); err != nil {
		found = append(found, fmt.Errorf("done, and the request is none that the document allows: %w", err))
	}
	for name := range asked.Request.URL.Query() {
		if !hasQuery(asked.Route, name) {
			found = append(found, fmt.Errorf("done, with the query %s that is not documented", name))
		}
	}
	return found
}

// unrouted returns the route that a request without an operation in the document is checked against. otherMethod
// reports that the document has the path with another method.
func unrouted(doc *openapi3.T, otherMethod bool) *routers.Route {
	want, name := http.StatusNotFound, "NotFound"
	if otherMethod {
		want, name = http.StatusMethodNotAllowed, "MethodNotAllowed"
	}
	refusal := openapi3.NewResponses(openapi3.WithStatus(want, doc.Components.Responses[name]),
		openapi3.WithStatus(http.StatusTooManyRequests, doc.Components.Responses["TooManyRequests"]))
	return &routers.Route{Spec: doc, Operation: &openapi3.Operation{Responses: refusal}}
}

// withoutForm returns the operation of without a body, for a request with a form: its media type may be refused.
func withoutForm(doc *openapi3.T, of *openapi3.Operation) *openapi3.Operation {
	operation := *of
	operation.Responses = openapi3.NewResponses(
		openapi3.WithStatus(http.StatusUnsupportedMediaType, doc.Components.Responses["UnsupportedMediaType"]))
	for status, response := range of.Responses.Map() {
		operation.Responses.Set(status, response)
	}
	return &operation
}

// beyondSchemas returns what is wrong with a success by the rules in the document's text that no schema can express.
func (r Reading) beyondSchemas(sent *http.Request, resBody []byte) (found []error) {
	if r.Form {
		if sent.URL.RawQuery != "" {
			found = append(found, errors.New("done, with a query beside a selector in the body of a POST"))
		}
		if !isAPIKey(sent.Header) {
			found = append(found, errors.New("done, by a POST that stands for another call, and no apiKey was sent"))
		}
	}
	if r.Operation.OperationID != "revoke" && r.Operation.OperationID != "revokeOne" {
		return found
	}
	if r.Operation.OperationID == "revoke" {
		var names []string
		object, form := r.fields()
		for name := range object {
			names = append(names, name)
		}
		for name := range form {
			names = append(names, name)
		}
		for name := range r.Request.URL.Query() {
			names = append(names, name)
		}
		logout := len(r.Body) == 0 && credential(sent.Header) == "" && sent.Header.Get("Cookie") != "" &&
			(len(names) == 0 || slices.Equal(names, []string{"cookieName"}))
		if slices.Sort(names); !isSelector(names) && !logout || len(r.Body) > 0 && r.Request.URL.RawQuery != "" {
			found = append(found, fmt.Errorf("done, with what is no selector in one place: %v", names))
		}
	}
	var envelope struct{ Data map[string]any }
	_ = json.Unmarshal(resBody, &envelope) // its schema was checked before
	_, wide := envelope.Data["revokedBefore"]
	delete(envelope.Data, "revokedBefore")
	delete(envelope.Data, "tokenIds") // beside tokenId
	names := slices.Sorted(maps.Keys(envelope.Data))
	if single := slices.Equal(names, []string{"tokenId"}); single == wide || !isSelector(names) {
		found = append(found,
			fmt.Errorf("neither one refresh token nor a selector with its instant was revoked: %s", resBody))
	}
	return found
}

func isSelector(names []string) bool {
	return slices.ContainsFunc(Selectors, func(s []string) bool { return slices.Equal(s, names) })
}

func hasQuery(route *routers.Route, name string) bool {
	return route.Operation.Parameters.GetByInAndName("query", name) != nil
}

// FindRoute returns the route of a request, and for HEAD the route of GET: the document says once that HEAD is served
// wherever GET is. The route is nil if the document does not have it; params are non-nil if the document has the path
// with another method.
func FindRoute(doc *openapi3.T, method string, u *url.URL) (*routers.Route, map[string]string) {
	got := strings.Split(strings.TrimSuffix(u.EscapedPath(), "/"), "/")
	if method == http.MethodHead {
		method = http.MethodGet
	}
	var known map[string]string
	for template, item := range doc.Paths.Map() {
		params, ok := matchPath(strings.Split(template, "/"), got)
		if !ok {
			continue
		}
		known = params
		if op := item.GetOperation(method); op != nil {
			return &routers.Route{Spec: doc, Path: template, PathItem: item, Method: method, Operation: op}, params
		}
	}
	return nil, known
}

func matchPath(template, got []string) (map[string]string, bool) {
	if len(template) != len(got) {
		return nil, false
	}
	params := map[string]string{}
	for i, segment := range template {
		name, isParam := strings.CutPrefix(segment, "{")
		switch {
		case isParam && got[i] != "":
			value, err := url.PathUnescape(got[i])
			if err != nil {
				return nil, false
			}
			params[strings.TrimSuffix(name, "}")] = value
		case segment != got[i]:
			return nil, false
		}
	}
	return params, true
}

func credentialIsSent(_ context.Context, in *openapi3filter.AuthenticationInput) error {
	header := in.RequestValidationInput.Request.Header
	sent := map[string]bool{
		"apiKey":      isAPIKey(header),
		"client":      strings.HasPrefix(header.Get("Authorization"), "Basic "),
		"cookie":      header.Get("Cookie") != "" && header.Get("Authorization") == "",
		"accessToken": strings.Count(credential(header), ".") == 2,
		"tenant": header.Get("X-Stencil-TenantId") != "" || header.Get("X-Stencil-Tenanid") != "" ||
			header.Get("X-Tenant-Id") != "",
	}
	if !sent[in.SecuritySchemeName] {
		return errors.New("no " + in.SecuritySchemeName + " was sent")
	}
	return nil
}

func isAPIKey(header http.Header) bool { return strings.HasPrefix(credential(header), "ak_") }

func credential(header http.Header) string {
	authorization := header.Get("Authorization")
	if scheme, rest, found := strings.Cut(authorization, " "); found && strings.EqualFold(scheme, "Bearer") {
		return strings.TrimSpace(rest)
	} else if found && strings.EqualFold(scheme, "Basic") {
		if user, _, ok := (&http.Request{Header: header}).BasicAuth(); ok {
			return user
		}
		return strings.TrimSpace(rest)
	}
	return authorization
}

func carriesToken(body []byte) bool {
	var envelope struct {
		Data struct {
			Token string `json:"token"`
		} `json:"data"`
		AccessToken string `json:"access_token"` // of the dialect of OAuth 2
	}
	return json.Unmarshal(body, &envelope) == nil && (envelope.Data.Token != "" || envelope.AccessToken != "")
}
