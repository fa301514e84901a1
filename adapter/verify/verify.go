package verify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// Errors of [Verifier.Verify], [Verifier.VerifyRequest] and the causes of contexts of [Verifier.Bind]. Compare with
// errors.Is: the errors that are returned say more. They never quote the token.
var (
	// ErrInvalid: the token is not one that the issuer signed for this audience, or is not presented as it must be.
	ErrInvalid = errors.New("verify: access token is invalid")
	// ErrExpired: the token is past its lifetime.
	ErrExpired = errors.New("verify: access token is expired")
	// ErrRevoked: the token's session has ended, or its signing key has.
	ErrRevoked = errors.New("verify: access token is revoked")
	// ErrStale: the view of revocations is too old, or there is none yet, or the signing keys could not be read, as after
	// an interruption in which one of them may have ended unnoticed. It says nothing about the token: the same request
	// may succeed later.
	ErrStale = errors.New("verify: view of revocations is stale")
	// ErrMissing: the request has no access token in an Authorization header.
	ErrMissing = errors.New("verify: no access token")
	// ErrMalformed: the request has more than one credential, or one that cannot be read.
	ErrMalformed = errors.New("verify: malformed credentials")
)

// OnStale is the policy for tokens that are valid except for the age of the view.
type OnStale int

const (
	// Refuse returns [ErrStale]. After an interruption of MaxAge nothing is accepted.
	Refuse OnStale = iota
	// AcceptUntilExpiry accepts a token until it expires, if it is not revoked as of the last view. It is for APIs
	// whose availability matters more than a revocation during an outage. Before the first complete view it accepts
	// nothing.
	AcceptUntilExpiry
)

// Config configures a [Verifier]. Issuer, Audience and APIKey are required.
type Config struct {
	// Issuer is the issuer (iss) of the tenant's access tokens, e.g. https://id.example/t/acme.
	Issuer string
	// Audience is what aud has to contain: the id of the application for which the tokens are made.
	Audience string
	// APIKey is a key of refreshd with the permission GET on /revocations. It is sent to FeedURL only.
	APIKey string `json:"-"`

	// FeedURL and KeysURL are the addresses of the revocation stream and of the JWK Set. If they are empty, they are
	// Issuer + "/revocations" and Issuer + "/.well-known/jwks.json".
	FeedURL, KeysURL string
	// StateFile is a file, of this process alone, that keeps the view over a restart, so that the stream continues
	// where it ended. It is optional: without it, the stream begins with every fact that matters.
	StateFile string

	// MaxAge is the age above which the view is stale; at least 2 s, and 60 s if it is zero. Without an interruption
	// a view is about a second old. [Verifier.Require] sets it for a single route.
	MaxAge time.Duration
	// OnStale is the policy while the view is stale.
	OnStale OnStale
	// Introspection makes the Verifier ask the service about each token while the view is stale. OnStale is then for
	// tokens about which it gets no answer. It is off if it is nil.
	Introspection *Introspection
	// MaxFacts bounds the memory of the view: above it the view is stale. It is 4 million if it is zero.
	MaxFacts int
	// Leeway is the difference of clocks that exp, nbf and iat allow for; 30 s if it is zero, at most 60 s.
	Leeway time.Duration
	// RequireProof makes the view stale unless the stream proves its freshness with signatures of the signing keys.
	RequireProof bool

	// PublicURL is the URL at which clients reach this API, without what their requests append, e.g.
	// https://api.example. DPoP needs it or RequestURL: a client signs the URL of its request, and neither the Host
	// header, which the sender of a stolen proof chooses, nor the address behind a proxy says what it is.
	PublicURL string
	// RequestURL returns the URL that the client used for a request. It is for an API whose URL is not PublicURL
	// followed by the path of the request, such as one with several host names.
	RequestURL func(*http.Request) string

	// Client makes the requests to the service. Its Timeout, which would end the stream, and its CheckRedirect are not
	// used: a redirect is an error. It is a client of its own if it is nil.
	Client *http.Client
	// Log receives interruptions of the stream, failures to read the keys, and, once for each claim, a token of the
	// issuer that has another iss, aud or tid than this Config; never a token or a key. Nothing is logged if it is nil.
	Log *slog.Logger
	// Metrics may be nil.
	Metrics Metrics
}

// Format implements [fmt.Formatter]: it leaves the API key out, whatever the verb.
func (c Config) Format(s fmt.State, verb rune) {
	type plain Config
	if c.APIKey != "" {
		c.APIKey = redacted
	}
	fmt.Fprintf(s, fmt.FormatString(s, verb), plain(c))
}

const redacted = "[redacted]"

// LogValue implements [slog.LogValuer].
func (c Config) LogValue() slog.Value { return slog.StringValue(fmt.Sprintf("%+v", c)) }

// Limits and defaults of a [Config].
const (
	minMaxAge       = 2 * time.Second
	defaultMaxAge   = time.Minute
	defaultMaxFacts = 4_000_000
	defaultLeeway   = 30 * time.Second
	maxLeeway       = time.Minute
)

// checked returns c with its defaults. Its Client is a copy that follows no redirects; Log and Metrics are not nil.
func (c Config) checked() (Config, error) {
	wrong := func(field, format string, args ...any) (Config, error) {
		return Config{}, fmt.Errorf("verify: Config."+field+": "+format, args...)
	}
	if err := checkURL(c.Issuer); err != nil {
		return wrong("Issuer", "%w: set the issuer of the tenant's access tokens, such as https://id.example/t/acme", err)
	}
	if c.Audience == "" {
		return wrong("Audience", "empty: set the id of the application whose access tokens this API accepts")
	}
	if !isAPIKey(c.APIKey) {
		return wrong("APIKey", "not an API key of refreshd: set one (ak_…) with the permission GET on /revocations")
	}
	base := strings.TrimSuffix(c.Issuer, "/")
	if c.FeedURL == "" {
		c.FeedURL = base + "/revocations"
	}
	if c.KeysURL == "" {
		c.KeysURL = base + "/.well-known/jwks.json"
	}
	if err := checkURL(c.FeedURL); err != nil {
		return wrong("FeedURL", "%w: set the URL of the tenant's revocation stream, or leave it empty", err)
	}
	if err := checkURL(c.KeysURL); err != nil {
		return wrong("KeysURL", "%w: set the URL of the tenant's JWK Set, or leave it empty", err)
	}
	if c.StateFile != "" {
		if err := checkFolderOf(c.StateFile); err != nil {
			return wrong("StateFile", "%w: set a file in a folder that exists", err)
		}
	}
	if c.MaxAge == 0 {
		c.MaxAge = defaultMaxAge
	}
	if c.MaxAge < minMaxAge {
		return wrong("MaxAge", "%v: set at least %v, because a view is up to 1.3 s old without any interruption",
			c.MaxAge, minMaxAge)
	}
	if c.OnStale != Refuse && c.OnStale != AcceptUntilExpiry {
		return wrong("OnStale", "%d is unknown: set verify.Refuse or verify.AcceptUntilExpiry", int(c.OnStale))
	}
	if c.Introspection != nil {
		own, err := c.Introspection.checked(c.Issuer)
		if err != nil {
			return Config{}, err
		}
		c.Introspection = &own
	}
	if c.MaxFacts == 0 {
		c.MaxFacts = defaultMaxFacts
	}
	if c.MaxFacts < 0 {
		return wrong("MaxFacts", "%d: set a positive number, or 0 for %d", c.MaxFacts, defaultMaxFacts)
	}
	if c.Leeway == 0 {
		c.Leeway = defaultLeeway
	}
	if c.Leeway < 0 || c.Leeway > maxLeeway {
		return wrong("Leeway", "%v: set at most %v, because the stream keeps facts no longer than that after the expiry of "+
			"their tokens", c.Leeway, maxLeeway)
	}
	if c.PublicURL != "" {
		if c.RequestURL != nil {
			return wrong("PublicURL", "set together with RequestURL: set one of them")
		}
		if err := checkURL(c.PublicURL); err != nil {
			return wrong("PublicURL", "%w: set the URL at which clients reach this API, such as https://api.example", err)
		}
	}
	client := http.Client{}
	if c.Client != nil {
		client = *c.Client
	}
	client.Timeout = 0
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	c.Client = &client
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Metrics == nil {
		c.Metrics = noMetrics{}
	}
	return c, nil
}

// checkFolderOf returns an error if no file can have that name. A file that cannot be written for another reason is
// logged when it is.
func checkFolderOf(name string) error {
	if info, err := os.Stat(name); err == nil && info.IsDir() {
		return fmt.Errorf("%s is a folder", name)
	}
	folder := filepath.Dir(name)
	info, err := os.Stat(folder)
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("%s is not a folder", folder)
	}
	return err
}

func isAPIKey(s string) bool {
	return len(s) >= 4 && strings.HasPrefix(s, "ak_") && !strings.ContainsFunc(s, notVisible)
}

func notVisible(r rune) bool { return r <= ' ' || r > '~' }

// checkURL accepts an absolute URL of https, or of http to this host, without user information, query and fragment. Its
// errors do not quote it, because somebody could paste a credential.
func checkURL(s string) error {
	if s == "" {
		return errors.New("empty")
	}
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" || u.Opaque != "" || strings.ContainsFunc(s, notVisible):
		return errors.New("not an absolute URL")
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || strings.Contains(s, "#"):
		return errors.New("a URL with user information, a query or a fragment")
	case u.Scheme == "https", u.Scheme == "http" && isLoopback(u.Hostname()):
		return nil
	}
	return errors.New("not a URL of https (http is for loopback addresses only)")
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback() || strings.EqualFold(host, "localhost")
}

// Verifier verifies access tokens. It is safe for concurrent use.
type Verifier struct {
	*shared
	maxAge time.Duration
}

// shared is what a Verifier has in common with those that Require returned.
type shared struct {
	config  Config // checked
	feed    *feed
	keys    *keySet
	asks    *introspector // nil without Introspection
	cache   *cache
	proofs  *replays
	bound   *bindings
	unlike  map[string]*sync.Once // by claim, see differs
	stop    context.CancelFunc
	running sync.WaitGroup
}

// New returns a Verifier. It makes no request itself and fails for a wrong configuration only: a service that cannot be
// reached makes the view stale, see [ErrStale]. Its goroutines end when ctx does, or after Close.
func New(ctx context.Context, c Config) (*Verifier, error) {
	c, err := c.checked()
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	s := &shared{
		config: c, keys: newKeySet(c), cache: newCache(), proofs: newReplays(maxReplays), bound: newBindings(), stop: stop,
		unlike: map[string]*sync.Once{"iss": {}, "aud": {}, "tid": {}},
	}
	s.feed = newFeed(c, s.keys)
	v := &Verifier{s, c.MaxAge}
	runs := []func(context.Context){s.keys.run, s.feed.run, s.watch}
	if c.Introspection != nil {
		s.asks = newIntrospector(c)
		runs = append(runs, s.asks.run)
	}
	for _, run := range runs {
		s.running.Go(func() { run(ctx) })
	}
	return v, nil
}

// Close stops what New started, and returns when it has ended and the state file, if any, is written. Contexts of Bind
// are cancelled. The view grows old afterwards.
func (v *Verifier) Close() {
	v.stop()
	v.running.Wait()
}

// Require returns a Verifier that shares everything with v, and for which the view is stale above maxAge. It panics if
// maxAge is below 2 s: a view is up to 1.3 s old without any interruption.
func (v *Verifier) Require(maxAge time.Duration) *Verifier {
	if maxAge < minMaxAge {
		panic(fmt.Sprintf("verify: Require(%v): ask for at least %v", maxAge, minMaxAge))
	}
	v.feed.need(maxAge)
	return &Verifier{v.shared, maxAge}
}

// State describes the view and the keys of a [Verifier].
type State struct {
	// Ready reports whether the view is complete and not stale, and the signing keys are known. Introspection does not
	// make it true.
	Ready bool
	// Tenant is the tenant that the stream names; empty before the first response.
	Tenant string
	// Complete reports whether there is a view: false before the first one, and while there are more than MaxFacts
	// facts.
	Complete bool
	// AsOf is the instant as of which the view is complete, and Age is its age. Both are zero if Complete is false.
	AsOf time.Time
	Age  time.Duration
	// Cursor is the position in the stream.
	Cursor int64
	// Facts is the number of facts in the view.
	Facts int
	// LastProof is the time of the last valid proof of freshness; zero if there was none.
	LastProof time.Time
	// Keys is the number of signing keys, and KeysAsOf is when the last successful request for them was made.
	Keys     int
	KeysAsOf time.Time
	// Introspected is when the last request of Introspection was sent that was answered; zero if there was none.
	Introspected time.Time
}

// State returns the state at this moment.
func (v *Verifier) State() State {
	now := time.Now()
	s := v.feed.state(now)
	set := v.keys.current.Load()
	if set != nil {
		s.Keys, s.KeysAsOf = len(set.byID), set.asOf
	}
	if v.asks != nil {
		s.Introspected = v.asks.lastAnswer()
	}
	s.Ready = s.Complete && s.Age <= v.maxAge && v.keys.serves(set)
	return s
}

// Token is a verified access token.
type Token struct {
	Issuer        string
	Subject       string // the user
	Audience      []string
	SessionID     string // sid
	TenantID      string // tid
	ApplicationID string
	Roles         []string
	Scopes        []string
	ID            string // jti
	IssuedAt      time.Time
	ExpiresAt     time.Time
	// Actors are act (RFC 8693, section 4.1): first the party that acts for the user, then the one that acts for that
	// party, and so on; empty if the user acts without one.
	Actors []Actor
	// Claims is the whole payload, a JSON object.
	Claims json.RawMessage
	// AsOf is the instant as of which the view was complete that the token was checked against, or, for one that was
	// accepted by introspection, the instant before the request was sent. It has a monotonic reading.
	AsOf time.Time

	subject subject
	key     *key   // that verified it
	jkt     string // the thumbprint of the key that it is bound to; empty if it is not bound
	digest  [32]byte
	by      *shared // what verified it
}

// Actor is a party that acts for another one.
type Actor struct {
	Subject  string // sub
	ClientID string // client_id: the application that it uses; empty if the token does not name it
}

// HasScope reports whether scope is one of the token's scopes.
func (t *Token) HasScope(scope string) bool { return slices.Contains(t.Scopes, scope) }

// HasRole reports whether role is one of the token's roles.
func (t *Token) HasRole(role string) bool { return slices.Contains(t.Roles, role) }

// Verify verifies an access token that was presented as a bearer token. It refuses one that is bound to a key (cnf).
//
// It makes no request, with two exceptions. For a key id that is not in the key set it waits for one request for the
// set, at most once in 10 s. With Config.Introspection, while the view is stale, it waits for one about the token. The
// end of ctx ends the wait. The errors are ErrInvalid, ErrExpired, ErrRevoked and ErrStale, in this order.
func (v *Verifier) Verify(ctx context.Context, token string) (*Token, error) {
	t, err := v.bearer(ctx, token)
	if err == nil {
		err = v.decide(ctx, t, token)
	}
	return v.decided(t, err)
}

// bearer is authenticate for a token that is presented without proof.
func (v *Verifier) bearer(ctx context.Context, token string) (*Token, error) {
	t, err := v.authenticate(ctx, token)
	if err == nil && t.jkt != "" {
		err = invalid("bound to a key, so it needs the scheme DPoP and a proof")
	}
	return t, err
}

// decide checks t, whose text is token, against the view, or by introspection while that is stale, and sets its AsOf.
func (v *Verifier) decide(ctx context.Context, t *Token, token string) error {
	now, err := v.decideByView(t)
	if v.asks == nil || !v.isStale(now) || err != nil && !errors.Is(err, ErrStale) {
		return err
	}
	if err := v.keys.selects(t.subject.kid, t.key); err != nil {
		return err
	}
	if tenant := *v.feed.tenant.Load(); t.TenantID == "" || tenant != "" && tenant != t.TenantID {
		return err
	}
	a, failure := v.asks.ask(ctx, t, token, v.maxAge)
	// That may have taken a while: facts may have come, and the token may have expired. A view that is fresh again is
	// later than the answer.
	now, err = v.decideByView(t)
	switch {
	case !v.isStale(now), err != nil && !errors.Is(err, ErrStale):
		return err
	case failure != nil && err != nil:
		return fmt.Errorf("%w; introspection: %w", err, failure)
	case failure != nil: // AcceptUntilExpiry
		return nil
	case !a.active && now.at.After(t.ExpiresAt):
		return ErrExpired
	case !a.active:
		return ErrRevoked
	}
	t.AsOf = a.sent
	return v.keys.selects(t.subject.kid, t.key)
}

// decideByView checks t against the view, which it returns, and sets the AsOf of t.
func (v *Verifier) decideByView(t *Token) (view, error) {
	now := v.look()
	err := v.check(t, now)
	if err == nil {
		t.AsOf = now.asOf
	}
	return now, err
}

// view is how fresh the facts are at an instant.
type view struct {
	at, asOf time.Time
	age      time.Duration
	complete bool
}

// look returns the view, against which the facts are checked afterwards.
//
// The age is read before the instant, and the instant before the facts: each may become newer in between, but not
// older. So what is checked against the facts is checked as of asOf at least.
func (s *shared) look() view {
	now := view{at: time.Now()}
	var hasAge, hasInstant bool
	now.age, hasAge = s.feed.age(now.at)
	now.asOf, hasInstant = s.feed.asOf()
	now.complete = hasAge && hasInstant
	return now
}

// isStale reports whether a view is too old for this Verifier, or incomplete.
func (v *Verifier) isStale(now view) bool { return !now.complete || now.age > v.maxAge }

// check returns why t is refused by the view, nil if it is not.
func (v *Verifier) check(t *Token, now view) error {
	switch {
	case v.expired(t, now.at):
		return ErrExpired
	case v.feed.revoked(&t.subject):
		return ErrRevoked
	case !now.complete:
		return fmt.Errorf("%w: there is no complete one yet", ErrStale)
	case t.TenantID != *v.feed.tenant.Load():
		v.differs("tid", t.TenantID, *v.feed.tenant.Load())
		return invalid("of another tenant than the revocation stream")
	case now.age > v.maxAge && v.config.OnStale == Refuse:
		return fmt.Errorf("%w: it is %v old", ErrStale, now.age.Round(time.Millisecond))
	}
	return v.keys.selects(t.subject.kid, t.key)
}

// differs logs the first token with a valid signature whose claim is not what it must be. The reason for a refusal does
// not name the values, and a configuration with a slash too many, or with http for https, refuses every token.
func (v *Verifier) differs(claim, token, want string) {
	v.unlike[claim].Do(func() {
		v.config.Log.Warn("an access token with a valid signature is refused for a claim; others like it are not logged",
			slog.String("claim", claim), slog.String("token", token), slog.String("want", want))
	})
}

func (v *Verifier) expired(t *Token, now time.Time) bool {
	return now.After(t.ExpiresAt.Add(v.config.Leeway))
}

// decided counts the decision.
func (v *Verifier) decided(t *Token, err error) (*Token, error) {
	v.config.Metrics.Decided(resultOf(err))
	if err != nil {
		return nil, err
	}
	return t, nil
}

func resultOf(err error) Result {
	for _, r := range []struct {
		err    error
		result Result
	}{
		{ErrMissing, Missing}, {ErrMalformed, Malformed}, {ErrExpired, Expired}, {ErrRevoked, Revoked}, {ErrStale, Stale},
	} {
		if errors.Is(err, r.err) {
			return r.result
		}
	}
	if err != nil {
		return Invalid
	}
	return Accepted
}

// refusal is an error of one of the kinds above with a reason. The reason is text of this package: it may be sent to
// the client, and holds nothing that the client sent.
type refusal struct {
	kind   error
	code   string // the error code of RFC 6750, section 3.1, or RFC 9449, section 12.2
	reason string
}

func (r *refusal) Error() string { return r.kind.Error() + ": " + r.reason }
func (r *refusal) Unwrap() error { return r.kind }

func invalid(reason string) error { return &refusal{ErrInvalid, codeInvalidToken, reason} }

// Error codes of RFC 6750, section 3.1, and RFC 9449, section 12.2.
const (
	codeInvalidRequest = "invalid_request"
	codeInvalidToken   = "invalid_token"
	codeInvalidProof   = "invalid_dpop_proof"
)
