package verify

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	maxKeySet      = 1 << 20 // bytes
	keysTimeout    = 10 * time.Second
	keysWait       = 2 * time.Second  // of a verification, for a request that is in progress
	minKeysAge     = time.Minute      // until the set is read again, even if Cache-Control says less
	maxKeysAge     = time.Hour        // and even if it says more
	defaultKeysAge = 5 * time.Minute  // and if it says nothing
	unknownKeyRate = 10 * time.Second // between two requests for the sake of an unknown kid

	// lastingKeys is how long the last good set serves while the endpoint cannot be reached. It bounds how long a key
	// that was withdrawn stays in use. Withdrawing a key is a step of its rotation, and its tokens expire by
	// themselves; a key that must end sooner is a fact of the stream, and is refused whatever the set says. The stream
	// has such a fact for a while only: a set that is older than that does not serve, see keySet.require.
	lastingKeys = 24 * time.Hour
)

// key is a public key of the set. It determines the algorithm.
type key struct {
	alg    string
	public crypto.PublicKey
}

// equal reports whether k and other, either of which may be nil, are the same key.
func (k *key) equal(other *key) bool {
	if k == other || k == nil || other == nil {
		return k == other
	}
	public, ok := k.public.(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.alg == other.alg && public.Equal(other.public)
}

// keys is one state of the set. It is not changed.
type keys struct {
	byID map[string]*key
	etag string
	asOf time.Time     // when the request was made that returned or confirmed it
	age  time.Duration // until it is read again
}

// keySet has the signing keys of the issuer. One goroutine reads them; verifications wait for it at most.
type keySet struct {
	config  Config
	current atomic.Pointer[keys]      // nil before the first
	since   atomic.Pointer[time.Time] // a set that was read earlier does not serve; nil if there is no such instant
	ignored int                       // keys of the last set that cannot be used; of the goroutine of run

	mu       sync.Mutex
	reading  chan struct{} // closed when the next request has ended; nil if none is required
	lastRead time.Time     // when the last request ended
	lastErr  error         // of the last request
	wake     chan struct{}
}

func newKeySet(c Config) *keySet {
	return &keySet{config: c, reading: make(chan struct{}), wake: make(chan struct{}, 1)}
}

// run reads the set, and reads it again before it is old or when find asks for it, until ctx is done.
func (s *keySet) run(ctx context.Context) {
	const firstRetry, lastRetry = time.Second, 30 * time.Second
	retry, failing := firstRetry, false
	defer func() { s.ended(context.Cause(ctx)) }() // a verification must not wait for a request that is not made
	for {
		set, err := s.read(ctx)
		if ctx.Err() != nil {
			return
		}
		wait := retry
		if err == nil {
			s.current.Store(set)
			wait, retry = set.age, firstRetry
		} else {
			retry = min(2*retry, lastRetry)
		}
		switch {
		case err != nil && !failing:
			s.config.Log.Warn("the signing keys could not be read: another attempt is made every 30 s at least",
				slog.String("url", s.config.KeysURL), slog.Any("error", err))
		case err == nil && failing:
			s.config.Log.Info("the signing keys are read again", slog.String("url", s.config.KeysURL))
		}
		failing = err != nil
		s.config.Metrics.FetchedKeys(err)

		s.ended(err)

		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-s.wake:
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil {
			return
		}
	}
}

// ended notes the result of the last request, and wakes those that wait for it.
func (s *keySet) ended(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lastRead, s.lastErr = time.Now(), err
	if s.reading != nil {
		close(s.reading)
		s.reading = nil
	}
}

// find returns the key of a key id. If the set has none, it waits for one request for the set. After a request it makes
// no other one for a while: a kid is whatever the sender of a token wrote.
func (s *keySet) find(ctx context.Context, kid string) (*key, error) {
	if k := s.lookup(kid); k != nil {
		return k, nil
	}
	s.mu.Lock()
	if s.reading == nil {
		switch {
		case s.lastErr != nil:
			s.mu.Unlock()
			return nil, errNoKeys
		case elapsed(s.lastRead, time.Now()) < unknownKeyRate:
			s.mu.Unlock()
			return nil, s.missing()
		}
		s.demand()
	}
	done := s.reading
	s.mu.Unlock()

	timer := time.NewTimer(keysWait)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
		return nil, errNoKeys
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", errNoKeys, context.Cause(ctx))
	}
	if k := s.lookup(kid); k != nil {
		return k, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lastErr != nil {
		return nil, errNoKeys
	}
	return nil, s.missing()
}

// demand makes run read the set now. It needs the lock; no request must be required yet.
func (s *keySet) demand() {
	s.reading = make(chan struct{})
	select {
	case s.wake <- struct{}{}:
	default: // run has yet to receive the last one
	}
}

// require makes sets that were read before since serve no longer, and reads the set if the current one was. It is for
// an interruption of the stream: the facts that name keys which ended before since may not have been received.
func (s *keySet) require(since time.Time) {
	s.since.Store(&since)
	s.mu.Lock()
	defer s.mu.Unlock()
	if set := s.current.Load(); set != nil && !s.serves(set) && s.reading == nil && s.lastErr == nil {
		s.demand()
	}
}

// serves reports whether keys of a set may be used.
func (s *keySet) serves(set *keys) bool {
	if set == nil || elapsed(set.asOf, time.Now()) > lastingKeys {
		return false
	}
	since := s.since.Load()
	return since == nil || elapsed(set.asOf, *since) <= 0
}

// missing returns why lookup finds no key.
func (s *keySet) missing() error {
	if !s.serves(s.current.Load()) {
		return errNoKeys
	}
	return errUnknownKey
}

// selects returns nil if kid still selects k. The set may be another one than that in which k was found, and require
// may have been called since.
func (s *keySet) selects(kid string, k *key) error {
	if k == nil || !k.equal(s.lookup(kid)) {
		return s.missing()
	}
	return nil
}

var (
	errNoKeys     = fmt.Errorf("%w: the signing keys could not be read", ErrStale)
	errUnknownKey = invalid("signed with an unknown key")
)

func (s *keySet) lookup(kid string) *key {
	set := s.current.Load()
	if !s.serves(set) {
		return nil
	}
	return set.byID[kid]
}

// elapsed returns the time from one instant to another of this process, by the clock that shows more: the monotonic one
// stands still while the machine sleeps.
func elapsed(from, to time.Time) time.Duration {
	return max(to.Sub(from), to.Round(0).Sub(from.Round(0)))
}

// verify verifies the signature of c.
func (s *keySet) verify(ctx context.Context, c compact) error {
	_, err := s.keyOf(ctx, c)
	return err
}

// keyOf verifies the signature of c with the key that its kid selects, and returns that key.
func (s *keySet) keyOf(ctx context.Context, c compact) (*key, error) {
	if c.header.kid == "" {
		return nil, invalid("header: no kid")
	}
	k, err := s.find(ctx, c.header.kid)
	switch {
	case err != nil:
		return nil, err
	case c.header.alg != k.alg:
		return nil, invalid("header: alg is not the algorithm of the key")
	case !validSignature(k.public, k.alg, c.signed, c.signature):
		return nil, invalid("wrong signature")
	}
	return k, nil
}

// read makes one request for the set.
func (s *keySet) read(ctx context.Context) (*keys, error) {
	ctx, cancel := context.WithTimeout(ctx, keysTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.config.KeysURL, nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept", "application/jwk-set+json, application/json")
	last := s.current.Load()
	if last != nil && last.etag != "" {
		r.Header.Set("If-None-Match", last.etag)
	}
	sent := time.Now()
	response, err := s.config.Client.Do(r)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	set := &keys{etag: response.Header.Get("ETag"), asOf: sent, age: maxAgeOf(response.Header)}
	switch {
	case response.StatusCode == http.StatusNotModified && last != nil:
		set.byID, set.etag = last.byID, last.etag
		return set, nil
	case response.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("status %d", response.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxKeySet+1))
	if err != nil {
		return nil, err
	}
	if len(body) > maxKeySet {
		return nil, fmt.Errorf("a JWK Set of more than %d bytes", maxKeySet)
	}
	var ignored int
	if set.byID, ignored, err = parseKeySet(body); err != nil {
		return nil, err
	}
	if ignored != s.ignored && ignored > 0 {
		s.config.Log.Info("the JWK Set has keys that cannot be used", slog.Int("ignored", ignored))
	}
	s.ignored = ignored
	return set, nil
}

// maxAgeOf returns max-age of Cache-Control, RFC 9111, section 5.2.2.1, within bounds.
func maxAgeOf(h http.Header) time.Duration {
	age := defaultKeysAge
	for directive := range strings.SplitSeq(strings.Join(h.Values("Cache-Control"), ","), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
		switch strings.ToLower(name) {
		case "no-store", "no-cache":
			return minKeysAge
		case "max-age":
			if seconds, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 31); err == nil {
				age = time.Duration(seconds) * time.Second
			}
		}
	}
	return min(max(age, minKeysAge), maxKeysAge)
}

// parseKeySet returns the keys of a JWK Set, RFC 7517, section 5, that can be used, and the number of the others: those
// for another use, those without a kid, those of an unknown type or algorithm, private keys, and all keys that share a
// kid. A set without a key that can be used is an error: it could verify nothing.
func parseKeySet(text []byte) (byID map[string]*key, ignored int, err error) {
	var all []json.RawMessage
	err = members(text, func(name string, value []byte) error {
		if name != "keys" {
			return nil
		}
		return json.Unmarshal(value, &all)
	})
	if err != nil {
		return nil, 0, errors.New("not a JWK Set")
	}
	byID = map[string]*key{}
	shared := map[string]bool{}
	for _, text := range all {
		k, err := parseJWK(text)
		if err != nil || k.kid == "" || k.alg == "" || k.use != "" && k.use != "sig" ||
			k.operations != nil && !slices.Contains(k.operations, "verify") {
			continue
		}
		shared[k.kid] = shared[k.kid] || byID[k.kid] != nil
		byID[k.kid] = &key{k.alg, k.public}
	}
	for kid := range shared {
		if shared[kid] {
			delete(byID, kid)
		}
	}
	if len(byID) == 0 {
		return nil, 0, errors.New("a JWK Set without a key that can be used")
	}
	return byID, len(all) - len(byID), nil
}

// jwk is a public key of RFC 7517 that signs.
type jwk struct {
	kid, use   string
	alg        string // the only one of the key; empty for an RSA key without one
	operations []string
	public     crypto.PublicKey
	thumbprint [sha256.Size]byte // RFC 7638
}

// parseJWK reads a public key. It refuses one with a private or a symmetric part.
func parseJWK(text []byte) (k jwk, err error) {
	var kty, crv, x, y, n, e string
	err = members(text, func(name string, value []byte) (err error) {
		switch name {
		case "kty":
			kty, err = text1(value)
		case "crv":
			crv, err = text1(value)
		case "x":
			x, err = text1(value)
		case "y":
			y, err = text1(value)
		case "n":
			n, err = text1(value)
		case "e":
			e, err = text1(value)
		case "alg":
			k.alg, err = text1(value)
		case "kid":
			k.kid, err = text1(value)
		case "use":
			k.use, err = text1(value)
		case "key_ops":
			if k.operations, err = texts(value); err == nil && k.operations == nil {
				k.operations = []string{}
			}
		case "d", "p", "q", "dp", "dq", "qi", "oth", "k":
			err = errors.New("a private or symmetric key")
		}
		return err
	})
	if err != nil {
		return jwk{}, err
	}
	// The texts below are base64url in its only spelling, so they need no escaping, and the thumbprint is of the key.
	var only, canonical string
	switch {
	case kty == "EC" && crv == "P-256":
		only, canonical = es256, `{"crv":"P-256","kty":"EC","x":"`+x+`","y":"`+y+`"}`
		k.public, err = parseP256(x, y)
	case kty == "OKP" && crv == "Ed25519":
		only, canonical = eddsa, `{"crv":"Ed25519","kty":"OKP","x":"`+x+`"}`
		b, ok := decode(x)
		if !ok || len(b) != ed25519.PublicKeySize {
			return jwk{}, errKey
		}
		k.public = ed25519.PublicKey(b)
	case kty == "RSA" && (k.alg == "" || k.alg == rs256 || k.alg == ps256):
		only, canonical = k.alg, `{"e":"`+e+`","kty":"RSA","n":"`+n+`"}`
		k.public, err = parseRSA(n, e)
	default:
		return jwk{}, errors.New("a key of an unknown type")
	}
	if err != nil {
		return jwk{}, err
	}
	if k.alg != "" && k.alg != only {
		return jwk{}, errors.New("an algorithm of another type of key")
	}
	k.alg = only
	k.thumbprint = sha256.Sum256([]byte(canonical))
	return k, nil
}

var errKey = errors.New("not a public key")

func parseP256(x, y string) (*ecdsa.PublicKey, error) {
	bx, okX := decode(x)
	by, okY := decode(y)
	if !okX || !okY || len(bx) != 32 || len(by) != 32 {
		return nil, errKey
	}
	return ecdsa.ParseUncompressedPublicKey(elliptic.P256(), slices.Concat([]byte{4}, bx, by))
}

// parseRSA accepts 2048 to 4096 bits: a larger key makes each verification slow.
func parseRSA(n, e string) (*rsa.PublicKey, error) {
	bn, okN := decode(n)
	be, okE := decode(e)
	if !okN || !okE || bn[0] == 0 || be[0] == 0 || len(be) > 4 {
		return nil, errKey
	}
	k := &rsa.PublicKey{N: new(big.Int).SetBytes(bn), E: int(new(big.Int).SetBytes(be).Int64())}
	if bits := k.N.BitLen(); bits < 2048 || bits > 4096 || k.N.Bit(0) == 0 || k.E < 3 || k.E%2 == 0 || k.E > 1<<31-1 {
		return nil, errKey
	}
	return k, nil
}

// encode encodes base64url without padding.
func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
