package httpapi

import (
	"errors"
	"log/slog"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/refreshd/refreshd/adapter/web"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/usecase"
)

const outcomeHeader = "Refreshd-Outcome"

// longestLife bounds timeToLiveInSeconds before it becomes a duration: no policy allows more.
const longestLife = 86_400

// exchange answers POST /jwt/refresh with a token string in the body or in a cookie.
func (a *API) exchange(c echo.Context, b refreshBody) error {
	in, name, err := a.exchangeInput(c, b)
	if err != nil {
		return err
	}
	if in.TokenString.IsZero() {
		if in.Ambient, err = cookies.Read(c, name); err != nil {
			return err
		}
		if len(in.Ambient) == 0 {
			return domain.NewInvalid("refreshToken", domain.Blank,
				"send the token string in refreshToken, or in the cookie refresh_token, or in the one that cookieName names")
		}
	}

	out, err := a.Exchange.Do(c.Request().Context(), in)
	if err != nil {
		return a.refuseCookies(c, name, err)
	}
	record := web.Note(c)
	if out.Outcome == domain.RefusedInvalid {
		if err := record.FailedProof(); err != nil { // unless the string was genuine, whatever else it lacked
			return err
		}
	}
	record.Exchanged(chargeable(out))
	if errors.Is(out.Why, domain.ErrLifeTooLong) { // nothing is wrong with the token string, and no outcome says so
		return domain.NewInvalid("timeToLiveInSeconds", domain.Malformed,
			"this is longer than the policy allows: ask for less, or leave it out")
	}
	a.tell(c, out)
	byCookie := len(in.Ambient) > 0
	switch {
	case errors.Is(out.Why, domain.ErrAuthenticationRequired):
		return domain.ErrUnauthorized
	case errors.Is(out.Why, domain.ErrUnproved):
		return refuse(c, "The refresh token cannot be exchanged.", []domain.FieldError{unproved})
	case out.Outcome.Refused():
		if byCookie && out.Deletable {
			cookies.Delete(c, name, out.Policy)
		}
		return refuse(c, "The refresh token cannot be exchanged.", []domain.FieldError{refusals[out.Outcome]})
	}
	web.NoStore(c)
	data := newGrantData(out.Grant)
	if byCookie {
		cookies.Renew(c, out.Grant, name, len(in.Ambient), out.Deletable)
		if out.Policy.CookieOnly {
			data.RefreshToken = ""
		}
	}
	return done(c, "The refresh token was exchanged.", data)
}

// chargeable reports whether the refresh token's limit counts the exchange. A refusal that left the refresh token
// active does not count: a copy of an old token string must not keep the owner out.
func chargeable(out usecase.Exchanged) bool {
	switch out.Outcome {
	case domain.RefusedInvalid, domain.RefusedInactive:
		return false
	case domain.RefusedReplayed:
		return !out.RefreshToken.RevokedAt.IsZero()
	default:
		return true
	}
}

// exchangeInput reads what is not in a cookie: the API key and the tenant, and the body; and the name of the cookie.
func (a *API) exchangeInput(c echo.Context, b refreshBody) (in usecase.ExchangeInput, name string, err error) {
	caller, authenticated, err := web.Offered(c, domain.TokenExchange)
	if err != nil {
		return in, "", err
	}
	// A key of one tenant is of no use with another one's token strings, also where the request names none.
	in.TenantID, in.Authenticated = caller.TenantID, authenticated
	query, err := web.Query[cookieQuery](c)
	if err != nil {
		return in, "", err
	}
	if name, err = cookieName(b.CookieName, query.CookieName); err != nil {
		return in, "", err
	}
	in.AccessToken, in.ClientAddress, in.Limit = domain.NewSecret(text(b.Token)), c.RealIP(), web.Note(c).Genuine
	in.RequestID = web.Note(c).RequestID
	in.LimitRead = web.Note(c).Presented
	if ttl := b.TimeToLiveInSeconds; ttl != nil {
		if *ttl < 1 || *ttl > longestLife {
			return in, "", domain.NewInvalid("timeToLiveInSeconds", domain.Malformed,
				"use at least 1, and no more than the policy allows")
		}
		in.AccessTokenTTL = time.Duration(*ttl) * time.Second
	}
	if b.RefreshToken != nil {
		if *b.RefreshToken == "" {
			return in, "", domain.NewInvalid("refreshToken", domain.Blank, "send the token string")
		}
		in.TokenString = domain.NewSecret(*b.RefreshToken)
	}
	return in, name, nil
}

// refusals are what a refused client reads. All but inactive are final.
var refusals = map[domain.Outcome]domain.FieldError{
	domain.RefusedInvalid: {Field: "refreshToken", Reason: domain.Malformed,
		Message: "this is no token string of ours, or not one for this caller: drop it and log in again"},
	domain.RefusedExpired: {Field: "refreshToken", Reason: "expired",
		Message: "its life is over: drop it and log in again"},
	domain.RefusedRevoked: {Field: "refreshToken", Reason: "revoked",
		Message: "it was revoked: drop it and log in again"},
	domain.RefusedReplayed: {Field: "refreshToken", Reason: "reused",
		Message: "an old token string came back, which looks like theft: drop it and log in again"},
	domain.RefusedInactive: {Field: "refreshToken", Reason: "inactive",
		Message: "the application is switched off: keep the token string and try later"},
}

// unproved is what a client reads that did not prove what the refresh token is bound to. It keeps the token string.
var unproved = domain.FieldError{Field: "refreshToken", Reason: "unproved",
	Message: "the refresh token is bound to a key: keep the token string, and send it again with a proof of that key"}

// tell notes the outcome, in the header, the log and the metrics. What may be theft is a warning, and names the
// session and its user, for somebody has to tell them; what cannot be is an error.
func (a *API) tell(c echo.Context, out usecase.Exchanged) {
	c.Response().Header().Set(outcomeHeader, string(out.Outcome))
	record, token := web.Note(c), out.RefreshToken
	record.Outcome, record.Event = string(out.Outcome), exchangeEvents[out.Outcome]
	if token.ID.IsZero() {
		if out.Outcome == domain.RefusedInvalid {
			record.Event, record.Kind = web.EventCredentialFailed, web.CredentialTokenString
		}
	} else {
		record.Tenant = token.TenantID
		record.Raise(slog.LevelInfo, slog.String("refreshTokenId", token.ID.String()))
	}
	level, attrs := slog.LevelWarn, []slog.Attr(nil)
	switch {
	case errors.Is(out.Why, domain.ErrAhead):
		level, record.Event = slog.LevelError, eventExchangeAhead
		attrs = []slog.Attr{slog.String("why", out.Why.Error()+": the store went back in time, or a token key leaked")}
	case out.Restored:
		record.Event = eventExchangeRestored
		attrs = []slog.Attr{
			slog.String("why", "a later generation than the stored one was rotated, because the store was restored"),
		}
	case out.AddressChanged:
		record.Event = eventExchangeAddressChanged
		attrs = []slog.Attr{
			slog.String("why", "a retry from another client address than the rotation's"),
			slog.String("rotatedFrom", token.MetaData.ClientAddress),
		}
	case out.Outcome == domain.RefusedReplayed:
		attrs = []slog.Attr{slog.String("lastClient", token.MetaData.ClientAddress)} // before
	case out.Outcome == domain.Recovered:
	default:
		level = slog.LevelInfo
		if errors.Is(out.Why, domain.ErrAuthenticationRequired) {
			record.Event, record.Kind = web.EventCredentialFailed, web.CredentialNone
		}
		if out.Why != nil {
			attrs = []slog.Attr{slog.String("why", out.Why.Error())}
		}
	}
	if level > slog.LevelInfo {
		attrs = append(attrs, slog.String("applicationId", token.ApplicationID), slog.String("userId", token.UserID),
			slog.Uint64("presented", uint64(out.Presented)), slog.Uint64("generation", uint64(token.Generation)),
			slog.Time("issuedAt", token.IssuedAt))
	}
	record.Raise(level, attrs...)
	if a.Exchanged != nil {
		a.Exchanged(out)
	}
}
