package jwxsigner

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/refreshd/refreshd/domain"
)

// claims are the claims that this service sets.
type claims struct {
	Issuer        string   `json:"iss"`
	Subject       string   `json:"sub"`
	Audience      string   `json:"aud"`
	ClientID      string   `json:"client_id"`
	IssuedAt      int64    `json:"iat"` // seconds since 1970
	ExpiresAt     int64    `json:"exp"`
	SessionID     string   `json:"sid"`
	TenantID      string   `json:"tid"`
	ApplicationID string   `json:"applicationId"`
	IssuedEpoch   uint64   `json:"rve"`
	Roles         []string `json:"roles,omitempty"`
	Scope         string   `json:"scope,omitempty"` // RFC 8693, section 4.2
	// Confirmation is by RFC 9449, section 6.1, and Actor by RFC 8693, section 4.1.
	Confirmation *confirmation `json:"cnf,omitempty"`
	Actor        *actor        `json:"act,omitempty"`
	ID           string        `json:"jti,omitempty"` // left empty by encodeClaims; appendID adds it
}

type confirmation struct {
	Thumbprint string `json:"jkt"`
}

type actor struct {
	Subject  string `json:"sub"`
	ClientID string `json:"client_id,omitempty"`
	Actor    *actor `json:"act,omitempty"`
}

// nested returns the claim for actors, of which each has the next one in it; nil for none.
func nested(actors []domain.TokenActor) (outermost *actor) {
	for _, a := range slices.Backward(actors) {
		outermost = &actor{a.Subject, a.ApplicationID, outermost}
	}
	return outermost
}

// flat returns the actors of the claim.
func (a *actor) flat() (actors []domain.TokenActor, err error) {
	for ; a != nil; a = a.Actor {
		if a.Subject == "" {
			return nil, errors.New("act has no sub")
		}
		actors = append(actors, domain.TokenActor{Subject: a.Subject, ApplicationID: a.ClientID})
	}
	if len(actors) == 0 || len(actors) > domain.MaxTokenActors {
		return nil, errors.New("act is empty, or is nested too deep")
	}
	return actors, nil
}

// reserved are the names of claims; true if every token has the claim.
var reserved = map[string]bool{
	"iss": true, "sub": true, "aud": true, "client_id": true, "iat": true, "exp": true, "jti": true, "sid": true,
	"tid": true, "applicationId": true, "rve": true, "roles": false, "scope": false, "cnf": false,
	"act": false,
}

// encodeClaims returns the payload without `jti`.
func encodeClaims(t domain.AccessToken) ([]byte, error) {
	c := claims{
		Issuer: t.Issuer, Subject: t.Subject, Audience: t.Audience, ClientID: t.ApplicationID,
		IssuedAt: t.IssuedAt.Unix(), ExpiresAt: t.ExpiresAt.Unix(),
		SessionID: t.SessionID, TenantID: t.TenantID, ApplicationID: t.ApplicationID, IssuedEpoch: t.IssuedEpoch,
		Roles: t.Roles, Scope: strings.Join(t.Scopes, " "),
	}
	if t.Confirmation != "" {
		c.Confirmation = &confirmation{t.Confirmation}
	}
	c.Actor = nested(t.Actors)
	payload, err := json.Marshal(c)
	if err != nil || t.Claims == "" {
		return payload, err
	}
	err = members([]byte(t.Claims), func(own string, member []byte) error {
		for name := range reserved {
			if strings.EqualFold(name, own) {
				return fmt.Errorf("the caller's own claims contain %s, which this service sets", name)
			}
		}
		payload[len(payload)-1] = ','
		payload = append(append(payload, member...), '}')
		return nil
	})
	return payload, err
}

// encodeProof returns the payload of a proof without `jti`.
func encodeProof(p domain.ViewProof) ([]byte, error) {
	return json.Marshal(struct {
		Issuer   string `json:"iss"`
		Nonce    string `json:"nonce"`
		Cursor   string `json:"cursor"`
		Elapsed  int64  `json:"e"` // milliseconds
		IssuedAt int64  `json:"iat"`
	}{
		p.Issuer, p.Nonce, strconv.FormatInt(int64(p.Cursor), 10), p.CompleteAfter.Milliseconds(), p.IssuedAt.Unix(),
	})
}

// appendID completes the payload with `jti`: a hash of the encoded header and of the rest of the payload.
func appendID(payload []byte, header string) []byte {
	const name, end = `,"jti":"`, `"}`
	whole := make([]byte, 0, len(header)+len(payload)+len(name)+22+len(end))
	whole = append(append(whole, header...), payload...)
	hashed := sha256.Sum256(whole)
	whole = append(whole[:len(whole)-1], name...)
	whole = segment.AppendEncode(whole, hashed[:16])
	return append(whole, end...)[len(header):]
}

// decodeClaims does not set the type, which is in the header.
func decodeClaims(payload []byte) (domain.AccessToken, error) {
	known, own := []byte("{"), []byte("{")
	seen := make(map[string]bool, len(reserved))
	err := members(payload, func(name string, member []byte) error {
		if _, ok := reserved[name]; !ok {
			own = append(append(own, member...), ',')
			return nil
		}
		if seen[name] {
			return errors.New("a claim is repeated")
		}
		seen[name] = true
		known = append(append(known, member...), ',')
		return nil
	})
	if err != nil {
		return domain.AccessToken{}, err
	}
	for name, always := range reserved {
		if always && !seen[name] {
			return domain.AccessToken{}, errors.New("a claim is missing")
		}
	}
	var c claims
	known[len(known)-1] = '}'
	if err := json.Unmarshal(known, &c); err != nil {
		return domain.AccessToken{}, err
	}
	t := domain.AccessToken{
		Issuer: c.Issuer, Subject: c.Subject, Audience: c.Audience,
		ID: c.ID, IssuedAt: time.Unix(c.IssuedAt, 0).UTC(), ExpiresAt: time.Unix(c.ExpiresAt, 0).UTC(),
		SessionID: c.SessionID, TenantID: c.TenantID, ApplicationID: c.ApplicationID, IssuedEpoch: c.IssuedEpoch,
		Roles: c.Roles,
	}
	if c.Scope != "" {
		t.Scopes = strings.Split(c.Scope, " ")
	}
	// One that is not understood must not be taken for none: the token would become one that its bearer alone may use.
	if seen["cnf"] {
		if c.Confirmation == nil || c.Confirmation.Thumbprint == "" {
			return domain.AccessToken{}, errors.New("cnf has no jkt")
		}
		t.Confirmation = c.Confirmation.Thumbprint
	}
	if seen["act"] {
		if t.Actors, err = c.Actor.flat(); err != nil {
			return domain.AccessToken{}, err
		}
	}
	if len(own) > 1 {
		own[len(own)-1] = '}'
		t.Claims = domain.Object(own)
	}
	return t, nil
}

// members calls visit for each member of a JSON object, in its order, with the name and with the text of name and
// value. It returns the first error of visit, or errObject if object is not a JSON object.
func members(object []byte, visit func(name string, member []byte) error) error {
	d := json.NewDecoder(bytes.NewReader(object))
	if first, err := d.Token(); err != nil || first != json.Delim('{') {
		return errObject
	}
	for d.More() {
		start := d.InputOffset()
		name, err := d.Token()
		if err != nil {
			return errObject
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return errObject
		}
		if err := visit(name.(string), bytes.TrimLeft(object[start:d.InputOffset()], ", \t\r\n")); err != nil {
			return err
		}
	}
	if _, err := d.Token(); err != nil || d.InputOffset() != int64(len(object)) {
		return errObject
	}
	return nil
}

var errObject = errors.New("not a single JSON object")
