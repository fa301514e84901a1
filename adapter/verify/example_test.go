package verify_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/refreshd/refreshd/adapter/verify"
)

// demo is a refreshd in memory, so that the examples run: without it, the Client of their configuration is left out.
var demo = &http.Client{Transport: newService(demoKey)}

var demoKey = newKey("demo", "ES256")

// get sends a request with an access token of the demo to h, and prints the response.
func get(v *verify.Verifier, h http.Handler, path, authorization string) {
	for !v.State().Ready {
		time.Sleep(time.Millisecond) // The first view comes from another goroutine. A server has a readiness check.
	}
	r := httptest.NewRequest(http.MethodGet, path, nil)
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	body, _ := io.ReadAll(w.Result().Body)
	fmt.Println(w.Code, strings.TrimSpace(string(body)))
}

func Example() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	v, err := verify.New(ctx, verify.Config{
		Issuer: "https://id.example/t/acme", Audience: "orders", APIKey: apiKey,
		Client: demo, // of this example only
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer v.Close()

	mux := http.NewServeMux()
	mux.Handle("/orders", v.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, _ := verify.FromContext(r.Context())
		fmt.Fprintf(w, "orders of %s", token.Subject)
	})))
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, _ *http.Request) {
		if !v.State().Ready {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})

	get(v, mux, "/orders", "Bearer "+demoKey.token(nil))
	get(v, mux, "/orders", "Bearer "+demoKey.token(with{"aud": "invoices"}))
	// Output:
	// 200 orders of user-1
	// 401 {"error":"invalid_token","error_description":"for another audience"}
}

// A route can ask for a view that is not older than two seconds.
func ExampleVerifier_Require() {
	v, err := verify.New(context.Background(), verify.Config{
		Issuer: "https://id.example/t/acme", Audience: "orders", APIKey: apiKey,
		Client: demo, // of this example only
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer v.Close()

	pay := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, _ := verify.FromContext(r.Context())
		if !token.HasScope("write") {
			http.Error(w, "the scope write is required", http.StatusForbidden)
			return
		}
		fmt.Fprint(w, "paid")
	})
	h := v.Require(2 * time.Second).Middleware(pay)

	get(v, h, "/pay", "Bearer "+demoKey.token(nil))
	get(v, h, "/pay", "Bearer "+demoKey.token(with{"scope": "read"}))
	// Output:
	// 200 paid
	// 403 the scope write is required
}

// Echo takes the middleware unchanged.
func ExampleVerifier_Middleware_echo() {
	v, err := verify.New(context.Background(), verify.Config{
		Issuer: "https://id.example/t/acme", Audience: "orders", APIKey: apiKey,
		Client: demo, // of this example only
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer v.Close()

	e := echo.New()
	e.Use(echo.WrapMiddleware(v.Middleware))
	e.GET("/orders", func(c echo.Context) error {
		token, _ := verify.FromContext(c.Request().Context())
		return c.String(http.StatusOK, "orders of "+token.Subject)
	})

	get(v, e, "/orders", "Bearer "+demoKey.token(nil))
	get(v, e, "/orders", "")
	// Output:
	// 200 orders of user-1
	// 401 {"error_description":"an access token is required in the Authorization header"}
}

// A response that lasts, such as an event stream, ends with its session.
func ExampleVerifier_Bind() {
	refreshd := newService(demoKey)
	v, err := verify.New(context.Background(), verify.Config{
		Issuer: "https://id.example/t/acme", Audience: "orders", APIKey: apiKey,
		Client: &http.Client{Transport: refreshd}, // of this example only
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer v.Close()

	h := v.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		ctx, stop := v.Bind(r.Context(), token)
		defer stop()
		fmt.Fprintln(w, "first event")
		refreshd.tellAll(revocationOf(session)) // the user logs out
		<-ctx.Done()                            // and an event stream has a select
		fmt.Fprint(w, context.Cause(ctx))
	}))

	get(v, h, "/events", "Bearer "+demoKey.token(nil))
	// Output:
	// 200 first event
	// verify: access token is revoked
}

// The types of gRPC that an interceptor needs: this package does not depend on google.golang.org/grpc. With it, they
// are grpc.UnaryServerInfo and grpc.UnaryHandler; incoming is metadata.ValueFromIncomingContext, and the errors are
// status.Error(codes.Unauthenticated, …) and status.Error(codes.Unavailable, …).
type (
	UnaryServerInfo struct{ FullMethod string }
	UnaryHandler    func(ctx context.Context, request any) (any, error)
)

type incomingKey struct{}

func incoming(ctx context.Context, name string) []string {
	md, _ := ctx.Value(incomingKey{}).(map[string][]string)
	return md[name]
}

// An interceptor of gRPC calls Verify itself.
func ExampleVerifier_Verify_grpc() {
	v, err := verify.New(context.Background(), verify.Config{
		Issuer: "https://id.example/t/acme", Audience: "orders", APIKey: apiKey,
		Client: demo, // of this example only
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer v.Close()

	interceptor := func(
		ctx context.Context, request any, _ *UnaryServerInfo, handler UnaryHandler,
	) (any, error) {
		sent := incoming(ctx, "authorization")
		if len(sent) != 1 || !strings.HasPrefix(sent[0], "Bearer ") {
			return nil, errors.New("Unauthenticated: one access token is required")
		}
		token, err := v.Verify(ctx, strings.TrimPrefix(sent[0], "Bearer "))
		switch {
		case errors.Is(err, verify.ErrStale):
			return nil, fmt.Errorf("Unavailable: %w", err)
		case err != nil:
			return nil, fmt.Errorf("Unauthenticated: %w", err)
		}
		return handler(verify.NewContext(ctx, token), request)
	}

	for !v.State().Ready {
		time.Sleep(time.Millisecond) // The first view comes from another goroutine. A server has a readiness check.
	}
	for _, sent := range []string{"Bearer " + demoKey.token(nil), "Bearer x", "Basic x"} {
		ctx := context.WithValue(context.Background(), incomingKey{}, map[string][]string{"authorization": {sent}})
		fmt.Println(interceptor(ctx, nil, nil, func(ctx context.Context, _ any) (any, error) {
			token, _ := verify.FromContext(ctx)
			return "orders of " + token.Subject, nil
		}))
	}
	// Output:
	// orders of user-1 <nil>
	// <nil> Unauthenticated: verify: access token is invalid: not a JWS in compact form
	// <nil> Unauthenticated: one access token is required
}
