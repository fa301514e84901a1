// Package verify protects an API with the access tokens of refreshd. It checks their signatures without a request to
// the service, and refuses a token within a second after its session was revoked.
//
//	v, err := verify.New(ctx, verify.Config{Issuer: "https://id.example/t/acme", Audience: "orders", APIKey: key})
//	if err != nil {
//		return err
//	}
//	mux.Handle("/", v.Middleware(api))                          // 401 invalid_token, or 503 while the view is stale
//	mux.Handle("/pay", v.Require(2*time.Second).Middleware(pay)) // a view at most 2 s old
//
// [New] starts two activities in the background: one follows the service's revocation stream, the other one reads its
// signing keys. From the stream a [Verifier] has its view: every fact that could end an access token, and the instant
// as of which the facts are complete. Each acceptance rests on a view that is complete as of an instant at most
// Config.MaxAge ago. If the stream is interrupted for longer, [Verifier.Verify] returns [ErrStale], and the
// middleware sends 503 and not 401: the token may be valid, and a client that receives 401 would discard it. Nothing
// is accepted before the first complete view, and [Verifier.State] reports whether there is one: use it for a
// readiness check.
//
// With Config.Introspection, a token that needs a view that is fresher than the present one is asked about at the
// service instead (RFC 7662), see [Introspection]. That keeps an API in service while the stream is down, at the price
// of a request for each token in use. The view stays stale meanwhile, so State.Ready is false: a readiness check then
// asks for State.Keys.
//
// The stream names a signing key that was ended for a limited time. So after an interruption of more than ten minutes,
// less if the tenant's access tokens are valid for less than 15, nothing is accepted until the key set has been read
// again.
//
// A token is checked against the view each time. Of a token that was verified before, only the signature is not
// verified again.
//
// # Tokens
//
// A token is a JWS in compact form of at most 16 KiB, with the type at+jwt (RFC 9068) or JWT. Its kid selects a key
// of the service's JWK Set, and the key alone determines the algorithm: ES256, EdDSA (Ed25519), RS256 or PS256. What
// else a header refers to (jku, jwk, x5u) is not read. The claims iss, aud, exp, iat, sub, sid, tid and applicationId
// are required.
//
// A token that is bound to a key (cnf, RFC 7800) is accepted only with proof of possession by DPoP (RFC 9449), and
// only if Config.PublicURL or Config.RequestURL is set: see [Verifier.VerifyRequest].
//
// # Dependencies
//
// The package imports the standard library only, and nothing of refreshd: what it knows of the service is what the
// stream, the JWK Set and the tokens say. It is a package of refreshd's module, not a module of its own: a replace
// directive, which a nested module would need here, makes `go install` of the service at a version impossible, and
// one version for the service and its verifier says which of them fit together. Module graph pruning keeps the
// service's dependencies out of the builds of those who import this package.
package verify
