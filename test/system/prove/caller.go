package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/refreshd/refreshd/test/support/rig"
	"github.com/refreshd/refreshd/test/system/prove/observe"
)

// responseTimeout is how long a client waits for a response.
const responseTimeout = 3 * time.Second

// replica is a service as its clients reach it: over a network that may fail.
type replica struct {
	address string
	clock   clock
	earlier *atomic.Bool // see member; nil for none
}

// caller sends requests and reads the responses. It records a response that is never allowed as a fault.
type caller struct {
	http   *http.Client
	apiKey string
	faults *faults

	// granted is called for each access token, if it is not nil. asked is when the call began that returned it.
	granted func(h *history, accessToken string, asked time.Duration)
}

func newCaller(apiKey string, f *faults) *caller {
	return &caller{apiKey: apiKey, faults: f, http: &http.Client{
		Timeout:   responseTimeout,
		Transport: &http.Transport{MaxIdleConnsPerHost: 1000, IdleConnTimeout: time.Second},
	}}
}

// answer is a response. The status is 0 if there was none, or a 503: in both cases it is unknown whether the call took
// effect.
type answer struct {
	status  int
	outcome string
	version string // the ETag
	body    struct {
		Data   json.RawMessage
		Errors struct {
			FieldErrors map[string][]struct{ Code string }
		}
	}
	text  string
	oauth bool          // of the token endpoint of OAuth
	asked time.Duration // when the request was sent, by the clock of package observe
}

func (a answer) answered() bool { return a.status != 0 }

// code returns the error code of a refusal. It is empty if there is none, or more than one.
func (a answer) code() (code string) {
	for _, all := range a.body.Errors.FieldErrors {
		if len(all) != 1 || code != "" {
			return ""
		}
		code = all[0].Code
	}
	return code
}

func (c *caller) do(ctx context.Context, r replica, method, path, tenant string, withKey bool, body any) answer {
	asked := rig.Request{Method: method, Path: path}
	if body != nil {
		text, _ := json.Marshal(body)
		asked.Body = string(text)
	}
	if withKey {
		asked.Key, asked.Tenant = c.apiKey, tenant
	}
	return c.send(ctx, r, asked)
}

// send sends a request and reads its response.
func (c *caller) send(ctx context.Context, r replica, asked rig.Request) (a answer) {
	// A request continues after ctx is done, so that the last responses of a run are not lost.
	sent := observe.Monotonic()
	res, err := asked.Do(context.WithoutCancel(ctx), c.http, r.address)
	if err != nil || res.Status == http.StatusServiceUnavailable {
		return answer{}
	}
	got := res.Body
	a = answer{
		status: res.Status, outcome: res.Header.Get("Refreshd-Outcome"), version: res.Header.Get("ETag"),
		text: string(got), asked: sent,
	}
	if len(got) > 0 {
		if err := json.Unmarshal(got, &a.body); err != nil {
			c.faults.add("%s %s answered %d with what is not JSON: %.200q", asked.Method, asked.Path, res.Status, got)
			return answer{}
		}
	}
	return a
}

// unexpected records a response that the document does not allow for the call. The call counts as one without a
// response.
func (c *caller) unexpected(what string, a answer) output {
	c.faults.add("%s was answered %d: %.300s", what, a.status, a.text)
	return output{}
}

// grant reads the token string and the access token of an issue or an exchange.
func (c *caller) grant(h *history, word string, a answer) (out output, tokenString string) {
	id := h.ID
	var g struct {
		RefreshToken, RefreshTokenID, Token string
		ExpiresIn, RefreshTokenExpiresIn    int64
	}
	if err := json.Unmarshal(a.body.Data, &g); err != nil || g.RefreshTokenExpiresIn == 0 && !a.oauth {
		return c.unexpected(word, a), ""
	}
	named, generation, err := parseTokenString(g.RefreshToken)
	if err != nil || named != id || g.RefreshTokenID != id {
		c.faults.add("the holder of %s was answered with a token string of %s (%v)", id, named, err)
		return output{}, ""
	}
	var claims accessClaims
	err = rig.ReadClaims(g.Token, &claims) // the tests of package jwxsigner prove the signature
	want := accessClaims{id, h.tenant, h.Application, h.user, claims.IssuedAt, claims.ExpiresAt, claims.Epoch,
		confirmation{h.key.thumbprint()}}
	if err != nil || claims != want {
		c.faults.add("the holder of %+v was answered with an access token of %+v (%v)", want, claims, err)
		return output{}, ""
	}
	if c.granted != nil {
		c.granted(h, g.Token, a.asked)
	}
	digest := sha256.Sum256([]byte(g.Token))
	return output{
		Word: word, Generation: generation, Access: hex.EncodeToString(digest[:8]),
		Minted: claims.IssuedAt * second, Ends: claims.ExpiresAt * second, Epoch: claims.Epoch,
		Left: g.ExpiresIn * second, TokenLeft: g.RefreshTokenExpiresIn * second,
	}, g.RefreshToken
}

type accessClaims struct {
	Session     string `json:"sid"`
	Tenant      string `json:"tid"`
	Application string `json:"aud"`
	User        string `json:"sub"`
	IssuedAt    int64  `json:"iat"`
	ExpiresAt   int64  `json:"exp"`
	Epoch       int64  `json:"rve"`
	// Confirmation is of the key that the refresh token is bound to (RFC 9449, section 6).
	Confirmation confirmation `json:"cnf"`
}

type confirmation struct {
	JKT string `json:"jkt"`
}

// faults are responses that are wrong in any history.
type faults struct {
	mu    sync.Mutex
	all   []string
	first chan struct{} // closed by the first fault
}

func newFaults() *faults { return &faults{first: make(chan struct{})} }

func (f *faults) add(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.all) == 0 {
		close(f.first)
	}
	f.all = append(f.all, fmt.Sprintf(format, args...))
}

func (f *faults) list() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.all...)
}

func unmarshal(a answer, v any) error { return json.Unmarshal(a.body.Data, v) }
