package verify

import (
	"crypto/sha256"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	proofWindow = time.Minute // of iat, before and after now
	maxProof    = 8 << 10     // with an RSA key of 4096 bits it has 2 KiB
	maxProofID  = 256         // jti

	// maxReplays bounds the memory of proofs that were used: about 30 MB. It is enough for 8 700 requests with DPoP per
	// second, see replays.
	maxReplays = 1 << 20
)

// proofTypes is the type of RFC 9449, section 4.2.
var proofTypes = []string{"dpop+jwt"}

func invalidProof(reason string) error {
	return &refusal{ErrInvalid, codeInvalidProof, "DPoP proof: " + reason}
}

// prove checks that r proves possession of the key that t is bound to, RFC 9449, sections 4.3 and 7.1. The proof is not
// yet counted as used: see use.
func (v *Verifier) prove(r *http.Request, t *Token) (proof, error) {
	sent := r.Header.Values("DPoP")
	if len(sent) != 1 {
		return proof{}, invalidProof("there must be exactly one header")
	}
	if len(sent[0]) > maxProof {
		return proof{}, invalidProof("too large")
	}
	c, err := parse(sent[0], proofTypes)
	if err != nil {
		return proof{}, invalidProof(err.Error())
	}
	if c.jwk == nil {
		return proof{}, invalidProof("header: no jwk")
	}
	k, err := parseJWK(c.jwk)
	if err != nil {
		return proof{}, invalidProof("header jwk: " + err.Error())
	}
	if k.alg != "" && k.alg != c.header.alg {
		return proof{}, invalidProof("header: alg is not the algorithm of the key")
	}
	if !validSignature(k.public, c.header.alg, c.signed, c.signature) {
		return proof{}, invalidProof("wrong signature")
	}
	p, err := parseProof(c.payload)
	if err != nil {
		return proof{}, invalidProof(err.Error())
	}
	used, err := v.requestURL(r)
	if err != nil {
		return proof{}, err
	}
	if htu, err := normalURL(p.htu); err != nil || htu != used {
		return proof{}, invalidProof("htu is not the URL of the request")
	}
	now := time.Now()
	switch {
	case p.htm != r.Method:
		return proof{}, invalidProof("htm is not the method of the request")
	case p.iat.Before(now.Add(-proofWindow)), p.iat.After(now.Add(proofWindow)):
		return proof{}, invalidProof("iat is not within a minute of the server's clock")
	case p.ath != encode(t.digest[:]):
		return proof{}, invalidProof("ath is not the hash of the access token")
	case t.jkt != encode(k.thumbprint[:]):
		return proof{}, invalidProof("signed by another key than the access token is bound to")
	}
	p.id = sha256.Sum256([]byte(t.jkt + p.jti)) // a thumbprint has 43 characters
	return p, nil
}

type proof struct {
	jti, htm, htu, ath string
	iat                time.Time
	id                 [sha256.Size]byte
}

func parseProof(payload []byte) (p proof, err error) {
	err = members(payload, func(name string, value []byte) (err error) {
		switch name {
		case "jti":
			p.jti, err = text1(value)
		case "htm":
			p.htm, err = text1(value)
		case "htu":
			p.htu, err = text1(value)
		case "ath":
			p.ath, err = text1(value)
		case "iat":
			p.iat, err = numericDate(value)
		}
		if err != nil {
			return errors.New("claim " + name + ": wrong type or value")
		}
		return nil
	})
	switch {
	case err != nil:
	case p.jti == "" || len(p.jti) > maxProofID:
		err = errors.New("claim jti: missing or too long")
	case p.iat.IsZero():
		err = errors.New("claim iat: missing")
	}
	return p, err
}

// requestURL returns the URL that the client used for r, in its normal form.
func (v *Verifier) requestURL(r *http.Request) (string, error) {
	var used string
	switch {
	case v.config.RequestURL != nil:
		used = v.config.RequestURL(r)
	case v.config.PublicURL != "":
		// The request target as it was sent: routers remove prefixes from r.URL.
		target := r.URL
		if sent, err := url.ParseRequestURI(r.RequestURI); err == nil {
			target = sent
		}
		path := target.EscapedPath()
		if path != "" && path[0] != '/' { // OPTIONS *
			return "", invalidProof("the request has no URL")
		}
		used = strings.TrimSuffix(v.config.PublicURL, "/") + path
	default:
		return "", invalid("bound to a key, and this server is not configured for DPoP (PublicURL)")
	}
	normal, err := normalURL(used)
	if err != nil {
		return "", invalidProof("the URL of the request is unknown")
	}
	return normal, nil
}

// normalURL returns the URL without query and fragment, normalized as RFC 3986, sections 6.2.2 and 6.2.3, describe.
func normalURL(s string) (string, error) {
	u, err := url.Parse(s)
	if err != nil {
		return "", err
	}
	scheme, host, port := strings.ToLower(u.Scheme), strings.ToLower(u.Hostname()), u.Port()
	if scheme != "https" && scheme != "http" || host == "" || u.User != nil {
		return "", errors.New("not a URL of HTTP")
	}
	if port == "443" && scheme == "https" || port == "80" && scheme == "http" {
		port = ""
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if port != "" {
		host += ":" + port
	}
	// A reference that is absolute is resolved by removing its dot segments.
	path := normalEscapes((&url.URL{}).ResolveReference(u).EscapedPath())
	if path == "" {
		path = "/"
	}
	return scheme + "://" + host + path, nil
}

// normalEscapes decodes the escapes of unreserved characters, and writes the other ones with capital letters.
func normalEscapes(path string) string {
	if !strings.Contains(path, "%") {
		return path
	}
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

// isUnreserved reports whether c is an unreserved character of RFC 3986, section 2.3.
func isUnreserved(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~", c) >= 0
}

// replays are the proofs that were used, for as long as their iat would let them be used again. They are this
// process's: another replica of the API does not know them, and neither does the next process. RFC 9449, section
// 11.1, allows that; the window bounds it.
//
// A proof is a replay only of one with the same iat. So there is a set for each ten seconds of iat, and a set is
// dropped as a whole when its last iat has left the window. There are at most 13 sets, of two minutes.
type replays struct {
	max   int
	mu    sync.Mutex
	sets  map[int64]map[[16]byte]struct{} // by iat, in units of ten seconds
	count int
	floor int64 // sets below are dropped; it never decreases, so setting the clock back lets no proof in again
}

const replaySet = 10 // seconds

func newReplays(most int) *replays {
	return &replays{max: most, sets: map[int64]map[[16]byte]struct{}{}}
}

// use counts p as used. It is the last check of a request: a refused request takes no room. If there is no room, the
// request is refused: the memory of others must not be given up for it.
func (s *replays) use(p proof, now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for floor := now.Add(-proofWindow).Unix() / replaySet; s.floor < floor; {
		s.floor = floor
		for of, set := range s.sets {
			if of < floor {
				s.count -= len(set)
				delete(s.sets, of)
			}
		}
	}
	of := p.iat.Unix() / replaySet
	id := [16]byte(p.id[:])
	set := s.sets[of]
	switch _, used := set[id]; {
	case of < s.floor, used:
		return invalidProof("used before")
	case s.count >= s.max:
		return errFullOfProofs
	case set == nil:
		set = map[[16]byte]struct{}{}
		s.sets[of] = set
	}
	set[id] = struct{}{}
	s.count++
	return nil
}

// errFullOfProofs is ErrStale because it says nothing about the token, and passes.
var errFullOfProofs = &refusal{ErrStale, "", "more DPoP proofs than this server can remember"}
