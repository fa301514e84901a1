package web

import (
	"errors"
	"log/slog"

	"github.com/labstack/echo/v4"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/usecase"
)

// The events of exchanges and revocations, in every dialect. OPERATING.md lists all events.
const (
	eventTokenRevoked = "token.revoked"

	eventExchangeRotated        = "exchange.rotated"
	eventExchangeRetried        = "exchange.retried"
	eventExchangeRecovered      = "exchange.recovered"
	eventExchangeUnchanged      = "exchange.unchanged"
	eventExchangeRefused        = "exchange.refused"
	eventExchangeReplayed       = "exchange.replayed"
	eventExchangeAddressChanged = "exchange.address_changed"
	eventExchangeAhead          = "exchange.ahead"
	eventExchangeRestored       = "exchange.restored"
)

// EventTokenRevoked is the event of a revocation, in every dialect. One of a single session has the kind RevokedToken.
const (
	EventTokenRevoked = eventTokenRevoked
	RevokedToken      = "token"
)

var exchangeEvents = map[domain.Outcome]string{
	domain.Rotated: eventExchangeRotated, domain.Retried: eventExchangeRetried, domain.Recovered: eventExchangeRecovered,
	domain.Unchanged: eventExchangeUnchanged, domain.RefusedReplayed: eventExchangeReplayed,
	domain.RefusedInvalid: eventExchangeRefused, domain.RefusedExpired: eventExchangeRefused,
	domain.RefusedRevoked: eventExchangeRefused, domain.RefusedInactive: eventExchangeRefused,
}

// OutcomeHeader has the outcome of an exchange, in one word.
const OutcomeHeader = "Refreshd-Outcome"

// chargeable reports whether an exchange counts towards the refresh token's limit. A refusal that left the refresh
// token active does not: a copy of an old token string must not lock the owner out.
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

// exchangeRefusals are the errors in the response to a refused exchange. All except inactive are final.
var exchangeRefusals = map[domain.Outcome]domain.FieldError{
	domain.RefusedInvalid: {Field: "refreshToken", Reason: domain.Malformed,
		Message: "this token string was not issued by this service, or not for this caller: drop it and log in again"},
	domain.RefusedExpired: {Field: "refreshToken", Reason: "expired",
		Message: "the refresh token has expired: drop the token string and log in again"},
	domain.RefusedRevoked: {Field: "refreshToken", Reason: "revoked",
		Message: "the refresh token was revoked: drop the token string and log in again"},
	domain.RefusedReplayed: {Field: "refreshToken", Reason: "reused",
		Message: "an old token string was used again, probably by a thief: drop it and log in again"},
	domain.RefusedInactive: {Field: "refreshToken", Reason: "inactive",
		Message: "the application is switched off: keep the token string and try later"},
}

// unproved is the error in the response to an exchange without proof of the key that the refresh token is bound to. The
// client keeps the token string.
var unproved = domain.FieldError{Field: "refreshToken", Reason: domain.Unproved,
	Message: "the refresh token is bound to a key: keep the token string, and send it again with a proof of that key"}

// ExchangeRefusal returns the error in the response to a refused exchange. Its codes are the same in every dialect.
func ExchangeRefusal(out usecase.Exchanged) domain.FieldError {
	if errors.Is(out.Why, domain.ErrProofRequired) {
		return unproved
	}
	return exchangeRefusals[out.Outcome]
}

// ConcludeExchange charges an exchange to its refresh token or its client address, and reports it in the header, the
// log, and to observe, if that is set. If it returns an error, the handler must return that error. An exchange that was
// refused with domain.ErrLifetimeTooLong is not reported: nothing is wrong with its token string, and no outcome says
// so.
func ConcludeExchange(c echo.Context, out usecase.Exchanged, observe func(usecase.Exchanged)) error {
	record := LogRecord(c)
	if out.Outcome == domain.RefusedInvalid {
		if err := record.CredentialFailed(); err != nil { // unless the token string was genuine
			return err
		}
	}
	record.ChargeExchange(chargeable(out))
	if errors.Is(out.Why, domain.ErrLifetimeTooLong) {
		return nil
	}
	recordOutcome(c, out)
	if observe != nil {
		observe(out)
	}
	return nil
}

// recordOutcome reports the outcome in the header, the log and the metrics. A possible theft is a warning with the
// session and its user, because an operator has to inform them. An impossible state is an error.
func recordOutcome(c echo.Context, out usecase.Exchanged) {
	c.Response().Header().Set(OutcomeHeader, string(out.Outcome))
	record, token := LogRecord(c), out.RefreshToken
	record.Outcome, record.Event = string(out.Outcome), exchangeEvents[out.Outcome]
	if token.ID.IsZero() {
		if out.Outcome == domain.RefusedInvalid {
			record.Event, record.Kind = EventCredentialFailed, CredentialTokenString
		}
	} else {
		record.Tenant = token.TenantID
		record.Add(slog.LevelInfo, slog.String("refreshTokenId", token.ID.String()))
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
		attrs = []slog.Attr{slog.String("lastClient", token.MetaData.ClientAddress)} // of the last rotation
	case out.Outcome == domain.Recovered:
	default:
		level = slog.LevelInfo
		if errors.Is(out.Why, domain.ErrAuthenticationRequired) {
			record.Event, record.Kind = EventCredentialFailed, CredentialNone
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
	record.Add(level, attrs...)
}
