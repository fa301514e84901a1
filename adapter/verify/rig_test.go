package verify_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwk"

	"github.com/refreshd/refreshd/adapter/verify"
)

const (
	issuer   = "https://id.example/t/acme"
	audience = "orders"
	apiKey   = "ak_the-secret-of-the-tests-of-this-package"
	session  = "0197a2b3-4c5d-766e-877f-8091a2b3c4d5"
	other    = "0197a2b3-4c5d-766e-877f-8091a2b3c4d6"
)

// service is a refreshd of one tenant in memory: it serves the JWK Set and the revocation stream as its transport, so
// that a test runs in a bubble of testing/synctest.
type service struct {
	mu       sync.Mutex
	keys     string // the JWK Set
	header   http.Header
	status   int // of the JWK Set
	requests []*http.Request
	down     bool // no response to any request
	facts    []string
	streams  map[*stream]bool
	prover   *signingKey  // signs proofs of freshness
	redirect string       // the response to all requests, if it is not empty
	refuses  bool         // the response to requests for the stream is 403
	asked    http.Handler // of the introspection endpoint; nil: there is none
}

type stream struct {
	*io.PipeWriter
	ctx    context.Context
	end    context.CancelFunc
	sent   time.Time // the request
	nonce  string
	prover *signingKey
	writes sync.Mutex
	frames int
}

func newService(keys ...*signingKey) *service {
	s := &service{header: http.Header{}, streams: map[*stream]bool{}}
	s.publish(keys...)
	return s
}

// publish makes keys the JWK Set.
func (s *service) publish(keys ...*signingKey) {
	set := make([]string, 0, len(keys))
	for _, k := range keys {
		set = append(set, k.jwk(true))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status, s.keys = http.StatusOK, `{"keys":[`+strings.Join(set, ",")+`]}`
}

// serveKeys sets the response to requests for the JWK Set.
func (s *service) serveKeys(status int, body string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status, s.keys = status, body
}

// keyRequests returns the number of requests for the JWK Set.
func (s *service) keyRequests() (n int) {
	for _, r := range s.sent() {
		if strings.HasSuffix(r.URL.Path, "jwks.json") {
			n++
		}
	}
	return n
}

// sent returns the requests that were sent.
func (s *service) sent() []*http.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

func (s *service) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, r)
	if s.down {
		return nil, errors.New("connection refused")
	}
	if asked := s.asked; r.URL.String() == issuer+"/oauth2/introspect" && asked != nil {
		s.mu.Unlock()
		defer s.mu.Lock()
		return respond(asked, r)
	}
	if s.redirect != "" {
		header := http.Header{"Location": {s.redirect}}
		return &http.Response{StatusCode: http.StatusTemporaryRedirect, Header: header, Body: http.NoBody}, nil
	}
	if strings.HasSuffix(r.URL.Path, "/.well-known/jwks.json") {
		response := &http.Response{StatusCode: s.status, Header: s.header.Clone()}
		if etag := s.header.Get("ETag"); etag != "" && r.Header.Get("If-None-Match") == etag {
			response.StatusCode = http.StatusNotModified
		} else {
			response.Body = io.NopCloser(strings.NewReader(s.keys))
		}
		if response.Body == nil {
			response.Body = http.NoBody
		}
		return response, nil
	}
	if r.URL.Path != "/t/acme/revocations" || r.Header.Get("Authorization") != "Bearer "+apiKey {
		return &http.Response{StatusCode: http.StatusUnauthorized, Header: http.Header{}, Body: http.NoBody}, nil
	}
	if s.refuses {
		return &http.Response{StatusCode: http.StatusForbidden, Header: http.Header{}, Body: http.NoBody}, nil
	}
	reader, writer := io.Pipe()
	one := &stream{PipeWriter: writer, sent: time.Now(), nonce: r.URL.Query().Get("nonce"), prover: s.prover}
	one.ctx, one.end = context.WithCancel(r.Context())
	context.AfterFunc(one.ctx, func() { _ = writer.CloseWithError(io.ErrUnexpectedEOF) })
	s.streams[one] = true
	facts := slices.Clone(s.facts)
	go one.run(facts)
	return &http.Response{
		StatusCode: 200, Header: http.Header{"Content-Type": {"text/event-stream"}}, Body: body{reader, one.end},
	}, nil
}

// respond returns the response of h to a request, as it is sent: without what net/http adds for a server.
func respond(h http.Handler, sent *http.Request) (*http.Response, error) {
	r := sent.Clone(sent.Context())
	r.RequestURI, r.RemoteAddr = sent.URL.RequestURI(), "192.0.2.1:1"
	w, done := httptest.NewRecorder(), make(chan struct{})
	go func() {
		defer close(done)
		h.ServeHTTP(w, r)
	}()
	select {
	case <-done:
		return w.Result(), nil
	case <-sent.Context().Done():
		<-done
		return nil, context.Cause(sent.Context())
	}
}

// body is of a response; closing it ends the stream.
type body struct {
	io.Reader
	end func()
}

func (b body) Close() error { b.end(); return nil }

// run writes hello, facts, and fresh twice a second until the stream ends.
func (s *stream) run(facts []string) {
	const hello = `event: hello` + "\n" + `data: {"v":1,"tenant":"acme","keep":1200,"beat":500}` + "\n\n"
	if _, err := io.WriteString(s, hello); err != nil {
		return
	}
	for _, f := range facts {
		s.frame("facts", "", f)
	}
	for s.fresh() {
		select {
		case <-s.ctx.Done():
		case <-time.After(500 * time.Millisecond):
		}
	}
}

func (s *stream) frame(event, id, data string) bool {
	s.writes.Lock()
	defer s.writes.Unlock()
	s.frames++
	_, err := fmt.Fprintf(s, "event: %s\n%sdata: {\"n\":%d,%s}\n\n", event, id, s.frames, data)
	return err == nil
}

// fresh writes fresh, and a proof of it if one was asked for.
func (s *stream) fresh() bool {
	cursor, e := time.Now().UnixMicro(), time.Since(s.sent).Milliseconds()
	written := s.frame("fresh", fmt.Sprintf("id: %d\n", cursor), fmt.Sprintf(`"e":%d`, e))
	if written && s.nonce != "" && s.prover != nil {
		claims := fmt.Sprintf(`{"iss":%q,"nonce":%q,"cursor":"%d","e":%d}`, issuer, s.nonce, cursor, e)
		proof := s.prover.sign(strings.Replace(s.prover.header(), "at+jwt", "rvp+jwt", 1), claims)
		written = s.frame("proof", "", fmt.Sprintf(`"jws":%q`, proof))
	}
	return written
}

// tellAll adds a fact and sends it to all streams.
func (s *service) tellAll(fact string) {
	s.mu.Lock()
	s.facts = append(s.facts, fact)
	streams := maps.Clone(s.streams)
	s.mu.Unlock()
	for one := range streams {
		_ = one.frame("facts", "", fact) && one.fresh()
	}
}

// tell is tellAll in a bubble: it returns when the fact is applied.
func (s *service) tell(fact string) {
	s.tellAll(fact)
	synctest.Wait()
}

func revocationOf(id string) string {
	b, err := hex.DecodeString(strings.ReplaceAll(id, "-", ""))
	if err != nil {
		panic(err)
	}
	return fmt.Sprintf(`"keep":1200,"s":[%q]`, encode(b))
}

func (s *service) revoke(id string) { s.tell(revocationOf(id)) }

func (s *service) endKey(kid string) { s.tell(fmt.Sprintf(`"keep":1200,"k":[%q]`, kid)) }

// cut ends all streams, and answers no request until restore.
func (s *service) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = true
	s.endStreams()
}

// cutStream ends all streams, and refuses new ones; everything else works.
func (s *service) cutStream() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuses = true
	s.endStreams()
}

// endStreams needs the lock.
func (s *service) endStreams() {
	for one := range s.streams {
		one.end()
	}
	clear(s.streams)
}

// passKeys is pass for a test of the JWK Set: hours of a stream, which has a frame twice a second, take a minute of
// real time. The stream is interrupted most of the time, but never for long. It returns with a view of this moment.
func (s *service) passKeys(d time.Duration) {
	const most = 9 * time.Minute // of an interruption that loses nothing
	for ; d > most; d -= most {
		s.interrupt(most)
	}
	s.interrupt(d)
}

// interrupt is pass with a stream that ends now, and begins again shortly before interrupt returns.
func (s *service) interrupt(d time.Duration) {
	const again = 15 * time.Second // the client tries again 8 to 12 s after a refusal
	s.mu.Lock()
	s.refuses = true
	s.endStreams()
	s.mu.Unlock()
	pass(d - again)
	s.mu.Lock()
	s.refuses = false
	s.mu.Unlock()
	pass(again)
}

func (s *service) restore() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down, s.refuses = false, false
}

// start returns a Verifier of s that has its first view. It is closed when the test ends.
func start(t testing.TB, s *service, change func(*verify.Config)) *verify.Verifier {
	t.Helper()
	c := verify.Config{
		Issuer: issuer, Audience: audience, APIKey: apiKey, PublicURL: "https://api.example",
		Client: &http.Client{Transport: s},
	}
	if change != nil {
		change(&c)
	}
	v, err := verify.New(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Close)
	return v
}

// inBubble runs f in a bubble of testing/synctest with a Verifier of s that has its first view.
func inBubble(t *testing.T, s *service, change func(*verify.Config), f func(*testing.T, *verify.Verifier)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		v := start(t, s, change)
		time.Sleep(time.Second)
		synctest.Wait()
		f(t, v)
	})
}

// signingKey is a key with which a test signs.
type signingKey struct {
	kid, alg string
	private  crypto.Signer
}

// testKeys are keys of each algorithm; making them takes seconds for RSA.
var testKeys = sync.OnceValue(func() map[string]*signingKey {
	keys := map[string]*signingKey{}
	for _, alg := range []string{"ES256", "EdDSA", "RS256", "PS256"} {
		keys[alg] = newKey("key-"+alg, alg)
	}
	return keys
})

func newKey(kid, alg string) *signingKey {
	var private crypto.Signer
	var err error
	switch alg {
	case "ES256":
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "EdDSA":
		_, private, err = ed25519.GenerateKey(rand.Reader)
	case "RS256", "PS256":
		private, err = rsa.GenerateKey(rand.Reader, 2048)
	}
	if err != nil {
		panic(err)
	}
	return &signingKey{kid, alg, private}
}

// fixedKeys are published keys: RFC 8037, appendix A.1; RFC 6979, appendix A.2.5; RFC 7515, appendix A.2. A fuzz test
// runs in several processes, which must agree.
func fixedKeys(t testing.TB) map[string]*signingKey {
	t.Helper()
	seed, err := base64.RawURLEncoding.DecodeString("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A")
	if err != nil {
		t.Fatal(err)
	}
	d, err := hex.DecodeString("C9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721")
	if err != nil {
		t.Fatal(err)
	}
	ec, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), d)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("../jwxsigner/testdata/rfc7515-a2.jwk.json")
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := jwk.ParseKey(text)
	if err != nil {
		t.Fatal(err)
	}
	private := new(rsa.PrivateKey)
	if err := parsed.Raw(private); err != nil {
		t.Fatal(err)
	}
	return map[string]*signingKey{
		"ES256": {"key-ES256", "ES256", ec}, "EdDSA": {"key-EdDSA", "EdDSA", ed25519.NewKeyFromSeed(seed)},
		"RS256": {"key-RS256", "RS256", private}, "PS256": {"key-PS256", "PS256", private},
	}
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// members returns the members of RFC 7638 in their order.
func (k *signingKey) members() string {
	switch p := k.private.Public().(type) {
	case *ecdsa.PublicKey:
		b, err := p.Bytes()
		if err != nil {
			panic(err)
		}
		return fmt.Sprintf(`"crv":"P-256","kty":"EC","x":%q,"y":%q`, encode(b[1:33]), encode(b[33:]))
	case ed25519.PublicKey:
		return fmt.Sprintf(`"crv":"Ed25519","kty":"OKP","x":%q`, encode(p))
	case *rsa.PublicKey:
		return fmt.Sprintf(`"e":"AQAB","kty":"RSA","n":%q`, encode(p.N.Bytes()))
	}
	panic("unknown key")
}

// jwk returns the public key, as a member of a JWK Set if named.
func (k *signingKey) jwk(named bool) string {
	if !named {
		return "{" + k.members() + "}"
	}
	return fmt.Sprintf(`{%s,"kid":%q,"alg":%q,"use":"sig"}`, k.members(), k.kid, k.alg)
}

func (k *signingKey) thumbprint() string {
	sum := sha256.Sum256([]byte("{" + k.members() + "}"))
	return encode(sum[:])
}

// sign returns the JWS of a header and a payload, whatever they are.
func (k *signingKey) sign(header, payload string) string {
	signed := encode([]byte(header)) + "." + encode([]byte(payload))
	return signed + "." + encode(k.signature(signed))
}

func (k *signingKey) signature(signed string) (signature []byte) {
	sum := sha256.Sum256([]byte(signed))
	var err error
	switch p := k.private.(type) {
	case *ecdsa.PrivateKey:
		r, s, failed := ecdsa.Sign(rand.Reader, p, sum[:])
		if err = failed; err == nil {
			signature = append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
		}
	case ed25519.PrivateKey:
		signature = ed25519.Sign(p, []byte(signed))
	case *rsa.PrivateKey:
		if k.alg == "PS256" {
			signature, err = rsa.SignPSS(rand.Reader, p, crypto.SHA256, sum[:],
				&rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
		} else {
			signature, err = rsa.SignPKCS1v15(rand.Reader, p, crypto.SHA256, sum[:])
		}
	}
	if err != nil {
		panic(err)
	}
	return signature
}

func (k *signingKey) header() string {
	return fmt.Sprintf(`{"alg":%q,"kid":%q,"typ":"at+jwt"}`, k.alg, k.kid)
}

// with is a change of claims; a claim that is nil is left out.
type with map[string]any

// token returns an access token that is valid for five minutes, with changes.
func (k *signingKey) token(change with) string { return k.sign(k.header(), payload(change)) }

func payload(change with) string {
	now := time.Now()
	c := map[string]any{
		"iss": issuer, "sub": "user-1", "aud": audience, "client_id": audience, "iat": now.Unix(),
		"exp": now.Add(5 * time.Minute).Unix(), "sid": session, "tid": "acme", "applicationId": audience, "rve": 7,
		"roles": []string{"admin"}, "scope": "read write", "jti": "id-1",
	}
	for name, value := range change {
		if c[name] = value; value == nil {
			delete(c, name)
		}
	}
	text, err := json.Marshal(c)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// logTo returns a logger of everything into b, which a test reads when the Verifier is closed.
func logTo(b *lockedBuffer) *slog.Logger {
	return slog.New(slog.NewJSONHandler(b, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// pass lets time pass in a bubble, and returns when nothing is left to do at that instant.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}
