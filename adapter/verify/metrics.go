package verify

import "time"

// Result is the result of a decision about a token.
type Result string

// The results of a decision.
const (
	Accepted  Result = "accepted"
	Missing   Result = "missing"   // the request has no access token
	Malformed Result = "malformed" // the request is not a valid use of an access token, e.g. it has two
	Invalid   Result = "invalid"
	Expired   Result = "expired"
	Revoked   Result = "revoked"
	Stale     Result = "stale"
)

// Metrics receives what is worth counting. Its methods are called concurrently, from the goroutine of the decision:
// they must not block. [Verifier.State] has the values that a gauge reads.
type Metrics interface {
	// Decided is called once for each token or request that was verified.
	Decided(Result)
	// Viewed is called when the view became complete as of a later instant. The age is that of the view at this
	// moment, and facts is the number of facts in it.
	Viewed(age time.Duration, facts int)
	// FetchedKeys is called after each request for the signing keys. The error is nil if the set is known to be
	// current.
	FetchedKeys(error)
	// Introspected is called after each request of Introspection. The error is nil if it was answered, whatever the
	// answer.
	Introspected(error)
}

type noMetrics struct{}

func (noMetrics) Decided(Result)            {}
func (noMetrics) Viewed(time.Duration, int) {}
func (noMetrics) FetchedKeys(error)         {}
func (noMetrics) Introspected(error)        {}
