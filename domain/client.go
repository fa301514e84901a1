package domain

import (
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Client is what an application is as a client of OAuth 2 (RFC 6749, section 2). The zero value is a public client that
// any page may use and whose access tokens are for the application only. It is an application's own: a tenant has none.
type Client struct {
	// Secrets are the secrets of a confidential client, at most MaxClientSecrets, the newest first. Each suffices, so
	// that one can be replaced without an outage.
	Secrets []ClientSecret
	// Keys is a JWK Set (RFC 7517, section 5) of the public keys with which the client signs its assertions (RFC 7523);
	// empty for none.
	Keys string
	// Audiences are what access tokens may be for besides the application, at most MaxAudiences.
	Audiences []string
	// Origins are the origins (RFC 6454) whose pages may use the client; if it is empty, only those of the process may.
	Origins []string
}

// ClientSecret is the record of a client secret. The secret itself is not stored, only a keyed hash of it.
type ClientSecret struct {
	Hash      string // see HashClientSecret
	HashKey   uint32 // the number of the key under which Hash was made
	CreatedAt time.Time
}

// Limits of a client.
const (
	MaxClientSecrets = 2
	MaxAudiences     = 10
	maxOrigins       = 50
	maxClientKeys    = 16 << 10 // bytes
	maxAudience      = 255      // bytes
)

// Confidential reports whether the client must authenticate: it has a secret or a key.
func (c Client) Confidential() bool { return len(c.Secrets) > 0 || c.Keys != "" }

// Clone returns a deep copy of c.
func (c Client) Clone() Client {
	c.Secrets, c.Audiences, c.Origins = slices.Clone(c.Secrets), slices.Clone(c.Audiences), slices.Clone(c.Origins)
	return c
}

// Equal reports whether c and other are the same, with an empty list equal to none.
func (c Client) Equal(other Client) bool {
	return c.Keys == other.Keys && slices.Equal(c.Audiences, other.Audiences) &&
		slices.Equal(c.Origins, other.Origins) &&
		slices.EqualFunc(c.Secrets, other.Secrets, func(a, b ClientSecret) bool {
			return a.Hash == b.Hash && a.HashKey == b.HashKey && a.CreatedAt.Equal(b.CreatedAt)
		})
}

// The names of the fields of a Client on the wire and in the kickstart file.
const (
	FieldClientSecrets = "clientSecrets"
	FieldClientKeys    = "clientKeys"
	FieldAudiences     = "audiences"
	FieldOrigins       = "origins"
)

// Fields returns the fields of c except its secrets, for events and reports: neither an audience nor an origin has a
// blank.
func (c Client) Fields() []Setting {
	return []Setting{
		{FieldAudiences, strings.Join(c.Audiences, " ")}, {FieldOrigins, strings.Join(c.Origins, " ")},
		{FieldClientKeys, c.Keys},
	}
}

// secretTimes returns when each secret was made, which is all that an event has of them.
func (c Client) secretTimes() Setting {
	var times []string
	for _, s := range c.Secrets {
		times = append(times, s.CreatedAt.UTC().Format(time.RFC3339Nano))
	}
	return Setting{FieldClientSecrets, strings.Join(times, " ")}
}

// A client secret is clientSecretLength characters of clientSecretAlphabet if the service makes it. Other products'
// secrets can be imported: printable ASCII, of at least minClientSecret characters. The alphabet has no character that
// form encoding changes: clients differ in whether they encode the two parts of Basic (RFC 6749, section 2.3.1).
const (
	clientSecretAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	clientSecretLength   = 43 // 256 bits
	minClientSecret      = 24
	maxClientSecret      = 256
)

// NewClientSecret makes a client secret.
func NewClientSecret(random io.Reader) (Secret, error) {
	const n = len(clientSecretAlphabet)
	var text []byte
	for len(text) < clientSecretLength {
		var raw [64]byte
		if _, err := io.ReadFull(random, raw[:]); err != nil {
			return Secret{}, fmt.Errorf("make a client secret: %w", err)
		}
		for _, b := range raw {
			if int(b) < 256/n*n && len(text) < clientSecretLength { // the others would favor some characters
				text = append(text, clientSecretAlphabet[int(b)%n])
			}
		}
	}
	return NewSecret(string(text)), nil
}

// IsClientSecret reports whether s has the form of a client secret. The store need not be asked for any other.
func IsClientSecret(s string) bool {
	return len(s) >= minClientSecret && len(s) <= maxClientSecret &&
		!strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
}

// HashClientSecret returns the stored hash of a client secret: HMAC-SHA-256 under the deployment's hash key, of tenant,
// application and secret, so that one secret of two applications has two hashes.
func HashClientSecret(hashKey Secret, tenantID, applicationID string, secret Secret) string {
	h := hmac.New(sha256.New, []byte(hashKey.Reveal()))
	for _, s := range []string{"client secret", tenantID, applicationID, secret.Reveal()} {
		fmt.Fprintf(h, "%d:%s", len(s), s)
	}
	return string(h.Sum(nil))
}

// SecretWith returns the index of the secret that has one of these hashes, compared in constant time; -1 if there is
// none.
func (c Client) SecretWith(hashes ...string) int {
	found := -1
	for i, s := range c.Secrets {
		for _, hash := range hashes {
			if hash != "" && hmac.Equal([]byte(s.Hash), []byte(hash)) {
				found = i
			}
		}
	}
	return found
}

// HashedWith reports whether one of the secrets was hashed by the hash key of that number.
func (c Client) HashedWith(number uint32) bool {
	return slices.ContainsFunc(c.Secrets, func(s ClientSecret) bool { return s.HashKey == number })
}

// Audience returns the audience of an access token for the application, if the request asks for that one by `resource`
// (RFC 8707, section 2) or `audience`; empty for the application itself. An application without Audiences ignores both.
// ok is false for an audience that the application does not list: invalid_target.
func (c Client) Audience(applicationID, asked string) (audience string, ok bool) {
	switch {
	case len(c.Audiences) == 0 || asked == "":
		return "", true
	case asked == applicationID:
		return "", true
	default:
		return asked, slices.Contains(c.Audiences, asked)
	}
}

// Target is Audience for a request whose purpose is the audience (RFC 8693, section 2.1): an application without
// Audiences does not ignore it.
func (c Client) Target(applicationID, asked string) (audience string, ok bool) {
	if audience, ok = c.Audience(applicationID, asked); audience == "" {
		ok = asked == "" || asked == applicationID
	}
	return audience, ok
}

func (c Client) validate(p *Problems, applicationID string) {
	if len(c.Secrets) > MaxClientSecrets {
		p.Add(FieldClientSecrets, TooMany, "an application has at most two client secrets: remove one first")
	}
	if len(c.Keys) > maxClientKeys {
		p.Add(FieldClientKeys, TooLong, "use at most 16 KiB of JSON")
	}
	if len(c.Audiences) > MaxAudiences {
		p.Add(FieldAudiences, TooLong, "use at most 10 entries")
	} else {
		checkEntries(p, FieldAudiences, c.Audiences, func(p *Problems, field, s string) {
			checkAudience(p, field, s)
			if s == applicationID {
				p.Add(field, Conflict, "this is the id of the application, which is always an audience: remove it")
			}
		})
	}
	if len(c.Origins) > maxOrigins {
		p.Add(FieldOrigins, TooLong, "use at most 50 entries")
	} else {
		checkEntries(p, FieldOrigins, c.Origins, checkOrigin)
	}
}

func checkAudience(p *Problems, field, s string) {
	// Characters that JSON escapes would make an access token much longer than its audience: see AccessTokenSize.
	if s == "" || len(s) > maxAudience ||
		strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`"\<>&`, r) }) {
		p.Add(field, Malformed,
			"use a URI such as https://api.example.com, or a name, of at most 255 characters without blanks, quotes and &")
	}
}

func checkOrigin(p *Problems, field, s string) {
	u, err := url.Parse(s)
	if err != nil || u.Scheme == "" || u.Host == "" || u.Scheme+"://"+u.Host != s || strings.ToLower(s) != s ||
		len(s) > 255 {
		p.Add(field, Malformed, "use scheme and host in lower case, without path, such as https://app.example.com")
	}
}
