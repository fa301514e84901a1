package domain

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Proof is a DPoP proof (RFC 9449, section 4.2) whose signature was verified with its own key: it shows who made it,
// and nothing of the request that it came with. See Check.
type Proof struct {
	// Key is the SHA-256 thumbprint of the key (RFC 7638), in base64url: the binding of what the proof is for.
	Key      string
	ID       string // `jti`
	Method   string // `htm`
	URL      string // `htu`
	IssuedAt time.Time
	Nonce    string // empty for none
	// AccessTokenHash is `ath`: the SHA-256 of the access token that comes along, in base64url; empty for none.
	AccessTokenHash string
	// Next is `next_jkt`, a claim of this service: the thumbprint of the key that is to replace Key; empty for none.
	Next string
}

// Possession is what a request proved the possession of.
type Possession struct {
	Key string // a thumbprint, as in Proof
	// Next is the key that is to replace Key: a key roll. Empty for none.
	Next string
}

// Ed25519 is the name of EdDSA with a key of Ed25519 that RFC 9864 prefers (section 2.2). Clients sign by either name.
// Access tokens and key sets have EdDSA, which more verifiers know.
const Ed25519 Algorithm = "Ed25519"

// ClientAlgorithms are the algorithms by which clients sign proofs (RFC 9449) and assertions (RFC 7523).
var ClientAlgorithms = append(slices.Clone(Algorithms), Ed25519)

// ProofType is the `typ` in the header of a Proof.
const ProofType = "dpop+jwt"

// ProofHeader is the header of a request that has a Proof, and the field of its errors.
const ProofHeader = "DPoP"

// Errors of a proof. Each comes with an *Invalid of the field ProofHeader that says what is wrong. Nothing was decided
// about the token that the proof came with.
var (
	// ErrProof: the proof is not valid for this request (RFC 9449, section 4.3).
	ErrProof = errors.New("the DPoP proof is not valid")
	// ErrProofNonce: the proof has to have a current nonce of the service (RFC 9449, section 8).
	ErrProofNonce = errors.New("the DPoP proof has no current nonce")
)

// NextProofHeader is the header of a request that has a second Proof, of the key that is to replace that of the first.
const NextProofHeader = "DPoP-Next"

// CheckRoll returns an ErrProof unless p, which Check accepts, is for the key of next: a copy of an ordinary proof of
// the same key must not let its holder replace the key by an own one.
func (p Proof) CheckRoll(next Proof) error {
	switch {
	case next.Key == p.Key:
		return RefuseProof("the proof of " + NextProofHeader + " is of the same key")
	case p.Next != next.Key:
		return RefuseProof("its next_jkt is not the thumbprint of the key that signed the proof of " + NextProofHeader)
	}
	return nil
}

// RefuseProof returns an ErrProof with the reason, which must not quote the proof.
func RefuseProof(reason string) error {
	return fmt.Errorf("%w: %w", ErrProof, NewInvalid(ProofHeader, Unproved, reason))
}

// RefuseNonce returns an ErrProofNonce.
func RefuseNonce() error {
	return fmt.Errorf("%w: %w", ErrProofNonce, NewInvalid(ProofHeader, Unproved,
		"make a new proof, with the nonce of the header DPoP-Nonce, and send the request again"))
}

// Limits of a proof.
const (
	// ProofWindow is how far `iat` may be from now, on either side.
	ProofWindow = MaxClockSkew
	// MaxProof is the longest proof, in bytes of its compact form. One with an RSA key of 4096 bits has 2 KiB.
	MaxProof   = 8 << 10
	maxProofID = 256 // bytes
)

// ProofUse is a request that a proof comes with.
type ProofUse struct {
	Method string
	// URLs are those by which the client may have sent the request. Their query and fragment do not count.
	URLs []string
	// AccessToken is the one that comes along, for which the proof must be made; zero for none.
	AccessToken Secret
	Now         time.Time
}

// Check returns an ErrProof unless p was made for the use (RFC 9449, section 4.3). It knows neither nonces nor the
// proofs that were used before.
func (p Proof) Check(u ProofUse) error {
	switch {
	case p.ID == "" || len(p.ID) > maxProofID:
		return RefuseProof("its jti is missing, or longer than 256 bytes: send a random one with each request")
	case p.Method != u.Method:
		return RefuseProof("its htm is not the method of the request")
	case p.IssuedAt.Before(u.Now.Add(-ProofWindow)) || p.IssuedAt.After(u.Now.Add(ProofWindow)):
		return RefuseProof("its iat is not within a minute of the service's clock: make a proof for each request, and " +
			"set the clock by the header Date of the response")
	case !p.isOf(u.URLs):
		return RefuseProof("its htu is not the URL of the request, as clients see it: the public URL and the path")
	case !u.AccessToken.IsZero() && p.AccessTokenHash != hashAccessToken(u.AccessToken):
		return RefuseProof("its ath is not the hash of the access token that comes along")
	}
	return nil
}

func (p Proof) isOf(urls []string) bool {
	used, ok := normalURL(p.URL)
	return ok && slices.ContainsFunc(urls, func(s string) bool {
		normal, ok := normalURL(s)
		return ok && normal == used
	})
}

func hashAccessToken(t Secret) string {
	hash := sha256.Sum256([]byte(t.Reveal()))
	return base64.RawURLEncoding.EncodeToString(hash[:])
}

// URLsByIssuer returns the URLs of a request with that path to a service that clients reach by the issuer of a tenant.
// Endpoints of the tenant are below the issuer, without the prefix that names the tenant (RFC 8414, section 2); all
// others are at the issuer's host.
func URLsByIssuer(issuer, tenantID, path string) []string {
	u, err := url.Parse(issuer)
	if err != nil {
		return nil
	}
	urls := []string{u.Scheme + "://" + u.Host + path}
	if rest, below := strings.CutPrefix(path, derivedIssuer+tenantID+"/"); below {
		urls = append(urls, strings.TrimSuffix(issuer, "/")+"/"+rest)
	}
	return urls
}

// Replay identifies the proof among all that were made: two proofs have the same one only if they are of one key and
// one `jti`.
func (p Proof) Replay() [sha256.Size]byte { return sha256.Sum256([]byte(p.Key + "." + p.ID)) }

// IsThumbprint reports whether s has the form of a Proof's Key.
func IsThumbprint(s string) bool {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(s)
	return err == nil && len(raw) == sha256.Size && base64.RawURLEncoding.EncodeToString(raw) == s
}

// normalURL returns the URL without query and fragment, normalized by syntax and scheme (RFC 3986, sections 6.2.2 and
// 6.2.3). ok is false if s is not an absolute URL of HTTP.
func normalURL(s string) (normal string, ok bool) {
	u, err := url.Parse(s)
	if err != nil {
		return "", false
	}
	scheme, host, port := strings.ToLower(u.Scheme), strings.ToLower(u.Hostname()), u.Port()
	if scheme != "https" && scheme != "http" || host == "" || u.User != nil {
		return "", false
	}
	if scheme == "https" && port == "443" || scheme == "http" && port == "80" {
		port = ""
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if port != "" {
		host += ":" + port
	}
	rest, err := url.Parse("http://host" + normalEscapes(u.EscapedPath()))
	if err != nil {
		return "", false
	}
	path := (&url.URL{}).ResolveReference(rest).EscapedPath() // which removes the dot segments of a URL
	if path == "" {
		path = "/"
	}
	return scheme + "://" + host + path, true
}

// normalEscapes decodes the escapes of unreserved characters (RFC 3986, section 2.3), and writes the others with
// capital letters.
func normalEscapes(path string) string {
	var b strings.Builder
	for i := 0; i < len(path); i++ {
		if path[i] != '%' || i+2 >= len(path) {
			b.WriteByte(path[i])
			continue
		}
		digits := path[i+1 : i+3]
		i += 2
		c, err := strconv.ParseUint(digits, 16, 8)
		if err == nil && isUnreserved(byte(c)) {
			b.WriteByte(byte(c))
		} else {
			b.WriteString("%" + strings.ToUpper(digits))
		}
	}
	return b.String()
}

func isUnreserved(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~", c) >= 0
}

// nonceStep is how long a nonce is the current one. It is accepted for one step more.
const nonceStep = 3 * time.Minute

// ProofNonces returns the nonces of now under a key: first the one to give out, then the others that are accepted,
// which are that of the step before, and that of the step after, which a process with another clock may have given out.
// They are computed, not stored: every process with the key accepts those of all.
func ProofNonces(key Secret, now time.Time) ([3]string, error) {
	var nonces [3]string
	derived, err := hkdf.Key(sha256.New, []byte(key.Reveal()), nil, "refreshd DPoP nonce 1", sha256.Size)
	if err != nil {
		return nonces, fmt.Errorf("derive the key of nonces: %w", err)
	}
	step := now.Unix() / int64(nonceStep/time.Second)
	for i, at := range [...]int64{step, step - 1, step + 1} {
		h := hmac.New(sha256.New, derived)
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(at)))
		nonces[i] = base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:16])
	}
	return nonces, nil
}
