package gormstore

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/refreshd/refreshd/domain"
)

// tokenColumns are all columns of refresh_tokens, in the order of tokenRow.dest. After an exchange the values of
// advancedColumns are known, and only otherColumns are read: each column costs an exchange a third of a microsecond.
var (
	advancedColumns = []string{
		"id", "generation", "rotated_at", "last_used_at", "client_address", "recovered_at", "revoked_at",
		"revoked_reason",
	}
	otherColumns = []string{
		"tenant_id", "application_id", "user_id", "issued_at", "expires_at", "recovery_paid_until",
		"binding", "roles", "scopes", "claims", "device_name", "device_type", "device_description", "data",
		"ordinal", "issued_epoch", // assigned by the insert
	}
	tokenColumns = slices.Concat(advancedColumns, otherColumns)
)

// tokenRow is a row of refresh_tokens.
type tokenRow struct {
	id                                                             []byte
	tenantID, applicationID, userID                                string
	generation, issuedAt, rotatedAt, lastUsedAt, expiresAt         int64
	ordinal, recoveredAt, recoveryPaidUntil, issuedEpoch           int64
	binding                                                        []byte
	revokedAt                                                      int64
	revokedReason                                                  string
	roles, scopes                                                  []byte
	claims                                                         string
	deviceName, deviceType, deviceDescription, clientAddress, data string
}

func (r *tokenRow) dest() []any {
	return []any{
		&r.id, &r.generation, &r.rotatedAt, &r.lastUsedAt, &r.clientAddress, &r.recoveredAt, &r.revokedAt,
		&r.revokedReason, &r.tenantID, &r.applicationID, &r.userID, &r.issuedAt, &r.expiresAt, &r.recoveryPaidUntil,
		&r.binding, &r.roles, &r.scopes, &r.claims, &r.deviceName, &r.deviceType, &r.deviceDescription, &r.data,
		&r.ordinal, &r.issuedEpoch,
	}
}

// otherDest is dest of otherColumns.
func (r *tokenRow) otherDest() []any { return r.dest()[len(advancedColumns):] }

// advanced returns the refresh token that the exchange e has just written. r contains the columns that were read.
func (r *tokenRow) advanced(e *exchange) (domain.RefreshToken, error) {
	r.id, r.generation = e.id[:], int64(e.call.Generation)+1
	r.rotatedAt, r.lastUsedAt, r.clientAddress = micros(e.call.Now), micros(e.call.Now), e.call.ClientAddress
	return r.token() // neither revoked nor recovered: the statement requires the first and resets the second
}

// inserted returns t as it was stored. r contains the columns that were read.
func (r *tokenRow) inserted(t domain.RefreshToken) domain.RefreshToken {
	t.Ordinal, t.IssuedEpoch = r.ordinal, uint64(r.issuedEpoch)
	t.Roles, t.Scopes = slices.Clone(t.Roles), slices.Clone(t.Scopes)
	for _, at := range []*time.Time{
		&t.IssuedAt, &t.RotatedAt, &t.LastUsedAt, &t.ExpiresAt, &t.RecoveredAt, &t.RevokedAt,
	} {
		*at = instant(micros(*at))
	}
	return t
}

func (r *tokenRow) token() (domain.RefreshToken, error) {
	t := domain.RefreshToken{
		TenantID: r.tenantID, ApplicationID: r.applicationID, UserID: r.userID,
		Generation: uint32(r.generation),
		IssuedAt:   instant(r.issuedAt), RotatedAt: instant(r.rotatedAt),
		LastUsedAt: instant(r.lastUsedAt), ExpiresAt: instant(r.expiresAt),
		Ordinal: r.ordinal, RecoveredAt: instant(r.recoveredAt), RecoveryPaidUntil: r.recoveryPaidUntil,
		IssuedEpoch: uint64(r.issuedEpoch), Binding: string(r.binding),
		RevokedAt: instant(r.revokedAt), RevokedReason: domain.RevocationReason(r.revokedReason),
		Claims: domain.Object(r.claims),
		MetaData: domain.MetaData{
			Device:        domain.Device{Name: r.deviceName, Type: r.deviceType, Description: r.deviceDescription},
			ClientAddress: r.clientAddress, Data: domain.Object(r.data),
		},
	}
	copy(t.ID[:], r.id)
	var err error
	if t.Roles, err = decodeList(r.roles); err != nil {
		return domain.RefreshToken{}, err
	}
	if t.Scopes, err = decodeList(r.scopes); err != nil {
		return domain.RefreshToken{}, err
	}
	return t, nil
}

// tokenArgs are the values of tokenColumns but the last two, which the insert assigns.
func tokenArgs(t domain.RefreshToken) ([]any, error) {
	roles, err := encodeList(t.Roles)
	if err != nil {
		return nil, err
	}
	scopes, err := encodeList(t.Scopes)
	if err != nil {
		return nil, err
	}
	return []any{
		t.ID[:], int64(t.Generation), micros(t.RotatedAt), micros(t.LastUsedAt), t.MetaData.ClientAddress,
		micros(t.RecoveredAt), micros(t.RevokedAt), string(t.RevokedReason),
		t.TenantID, t.ApplicationID, t.UserID, micros(t.IssuedAt), micros(t.ExpiresAt), t.RecoveryPaidUntil,
		[]byte(t.Binding), roles, scopes, string(t.Claims),
		t.MetaData.Device.Name, t.MetaData.Device.Type, t.MetaData.Device.Description, string(t.MetaData.Data),
	}, nil
}

const emptyList = "[]"

func encodeList(list []string) (string, error) {
	if len(list) == 0 {
		return emptyList, nil
	}
	text, err := json.Marshal(list)
	return string(text), err
}

func decodeList(text []byte) (list []string, err error) {
	if string(text) == emptyList {
		return nil, nil
	}
	return list, json.Unmarshal(text, &list)
}
