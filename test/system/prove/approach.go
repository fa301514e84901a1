package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/url"
	"time"

	"github.com/refreshd/refreshd/test/support/dpop"
	"github.com/refreshd/refreshd/test/support/rig"
)

const clientSecret = "prove-prove-prove-prove-prove-prove"

// boundKey is the key that a refresh token is bound to.
type boundKey struct {
	dpop.Key
	jkt string
}

func newBoundKey() *boundKey {
	k, err := dpop.Generate()
	if err != nil {
		panic(err)
	}
	jkt, err := k.JKT()
	if err != nil {
		panic(err)
	}
	return &boundKey{k, jkt}
}

// thumbprint returns the thumbprint of k, or "" of none.
func (k *boundKey) thumbprint() string {
	if k == nil {
		return ""
	}
	return k.jkt
}

// anotherKey is a key that no refresh token is bound to.
var anotherKey = newBoundKey()

// lack is what a request that is not the owner's has wrong. All else is right.
type lack int

const (
	nothing       lack = iota
	theCredential      // no API key, and no secret of the client
	theSecret          // a wrong secret of the client
	theProof           // no proof of the key
	theKey             // a proof of another key
	theTenant          // it names another tenant
	theClient          // it names another client
)

// approach is how a token string is presented.
type approach struct {
	oauth bool // at the token endpoint of OAuth, otherwise in the JSON dialect
	lacks lack
}

// owner returns how the owner of h presents a token string: in any dialect that has what the application asks for.
func (c *crowd) owner(client int, h *history, generation uint32) approach {
	r := applications[h.Application]
	return approach{oauth: c.dialects && (!r.authenticated || r.confidential) && (client+int(generation))%3 == 0}
}

// outsider returns how somebody presents it who has only the token string, or who mistakes the tenant or the client.
// ok is false if the round has no outsiders.
func (c *crowd) outsider(r *rand.Rand, h *history) (a approach, ok bool) {
	rules := applications[h.Application]
	all := []approach{{oauth: false, lacks: theTenant}}
	if rules.confidential || !rules.authenticated {
		all = append(all, approach{true, theTenant}, approach{true, theClient})
	}
	if h.key != nil {
		all = append(all, approach{false, theProof}, approach{false, theKey})
		if rules.confidential || !rules.authenticated {
			all = append(all, approach{true, theProof}, approach{true, theKey})
		}
	}
	if rules.authenticated {
		all = append(all, approach{false, theCredential}, approach{true, theCredential})
	}
	if rules.confidential {
		all = append(all, approach{true, theSecret})
	}
	return all[r.IntN(len(all))], c.dialects
}

// input returns the call in the terms of the model.
func (a approach) input(h *history, generation uint32) input {
	r := applications[h.Application]
	return input{
		Kind: exchange, Generation: generation,
		APIKey:  r.authenticated && a.lacks != theCredential && a.lacks != theSecret,
		Foreign: a.lacks == theTenant || a.lacks == theClient,
		Key:     h.key != nil && a.lacks != theProof && a.lacks != theKey,
	}
}

// request returns the request that presents a token string.
func (a approach) request(c *caller, to replica, h *history, presented string) rig.Request {
	r, tenant := applications[h.Application], h.tenant
	if a.lacks == theTenant {
		tenant = anotherTenant(tenant)
	}
	asked := rig.Request{Method: "POST", Path: "/jwt/refresh", Header: map[string]string{}}
	if a.oauth {
		id := h.Application
		if a.lacks == theClient {
			id = anotherClient(id)
		}
		form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {presented}, "client_id": {id}}
		if r.confidential && a.lacks != theCredential && a.lacks != theClient {
			secret := clientSecret
			if a.lacks == theSecret {
				secret = "wrong-" + secret
			}
			form.Set("client_secret", secret)
		}
		asked.Path, asked.Body = "/t/"+tenant+"/oauth2/token", form.Encode()
		asked.Media = "application/x-www-form-urlencoded"
	} else {
		text, _ := json.Marshal(map[string]string{"refreshToken": presented})
		asked.Body = string(text)
		if r.authenticated && a.lacks != theCredential || a.lacks == theTenant {
			asked.Key, asked.Tenant = c.apiKey, tenant
		}
	}
	key := h.key
	switch a.lacks {
	case theProof:
		key = nil
	case theKey:
		key = anotherKey
	}
	if key != nil {
		proof, err := key.Prove("POST", publicURL+asked.Path, time.UnixMicro(to.clock.at(time.Now())))
		if err != nil {
			panic(err)
		}
		asked.Header["DPoP"] = proof
	}
	return asked
}

// limit returns 1 if exchanges are limited.
func (c *crowd) limit() int {
	if c.limits {
		return 1
	}
	return 0
}

func anotherTenant(tenant string) string {
	if tenant == tenantName(0) {
		return tenantName(1)
	}
	return tenantName(0)
}

// anotherClient returns a public client.
func anotherClient(id string) string {
	if id == "web" {
		return "strict"
	}
	return "web"
}

func generationOf(presented string) uint32 {
	_, generation, err := parseTokenString(presented)
	if err != nil {
		panic(err)
	}
	return generation
}

// present exchanges a token string.
func (c *crowd) present(
	ctx context.Context, client int, to replica, h *history, presented string, a approach,
) (out output, tokenString string) {
	generation := generationOf(presented)
	out = c.single(client, to, h, a.input(h, generation), func() output {
		got := c.send(ctx, to, a.request(c.caller, to, h, presented))
		if a.oauth {
			var err error
			if got, err = got.plain(h); err != nil {
				return c.unexpected("an exchange at the token endpoint: "+err.Error(), got)
			}
		}
		switch code := got.code(); {
		case !got.answered():
			return output{}
		case got.status == 200:
			out, tokenString = c.grant(h, got.outcome, got)
			return out
		case got.status == 400 && code == codes[unbound] && got.outcome == invalid:
			return output{Word: unbound}
		case got.status == 400 && code == codes[got.outcome]:
			return output{Word: got.outcome}
		case got.status == 401:
			return output{Word: unproved}
		case got.status == 429 && c.limits:
			return output{Word: limited}
		}
		return c.unexpected("an exchange", got)
	})
	return out, tokenString
}

// plain returns the response of the token endpoint as the JSON dialect has it. It does not say when the refresh token
// ends.
func (a answer) plain(h *history) (answer, error) {
	if !a.answered() {
		return a, nil
	}
	var said struct {
		AccessToken  string `json:"access_token"`
		TokenType    string `json:"token_type"`
		RefreshToken string `json:"refresh_token"`
		ExpiresIn    int64  `json:"expires_in"`
		Code         string `json:"refreshd_code"`
		Error        string `json:"error"`
	}
	if err := json.Unmarshal([]byte(a.text), &said); err != nil {
		return a, err
	}
	a.oauth = true
	if a.status == 200 {
		kind := "Bearer"
		if h.key != nil {
			kind = "DPoP"
		}
		if said.TokenType != kind {
			return a, fmt.Errorf("the type of the access token is %s, want %s", said.TokenType, kind)
		}
		var err error
		a.body.Data, err = json.Marshal(map[string]any{
			"token": said.AccessToken, "refreshToken": said.RefreshToken, "refreshTokenId": h.ID, "expiresIn": said.ExpiresIn,
		})
		return a, err
	}
	want := "invalid_grant"
	switch {
	case a.status == 401:
		want = "invalid_client"
	case a.status == 429:
		want = "temporarily_unavailable"
	case said.Code == codes[unbound]:
		want = "invalid_dpop_proof"
	}
	if said.Error != want {
		return a, fmt.Errorf("the error is %s, want %s", said.Error, want)
	}
	if said.Code != "" {
		a.body.Errors.FieldErrors = map[string][]struct{ Code string }{"refreshToken": {{said.Code}}}
	}
	return a, nil
}

// intruder presents copies of the token string in ways that are all refused, also old ones, which would be replays if
// they were the owner's.
func (c *crowd) intruder(ctx context.Context, r *rand.Rand, client int, h *history, s *storage) {
	copied, over := s.load()
	for !over && ctx.Err() == nil {
		pause(ctx, r, 2*time.Second)
		a, ok := c.outsider(r, h)
		if !ok {
			return
		}
		c.present(ctx, client, c.replica(r), h, copied, a)
		if r.IntN(3) == 0 {
			copied, _ = s.peek()
		}
		over = s.ended()
	}
}
