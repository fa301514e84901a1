package rig

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/base64"
	"fmt"
	"strings"
	"time"

	"github.com/refreshd/refreshd/adapter/jwxsigner"
	"github.com/refreshd/refreshd/domain"
)

// Filled is the id of the i-th tenant that Fill makes, from 0.
func Filled(i int) string { return fmt.Sprintf("filled-%06d", i) }

// Fill makes n tenants, each with the applications of the tenant like and a signing key for ES256 of its own, in a
// database that the service has been started on with MasterKey. It does so by SQL, 100 000 in seconds, and on either
// engine. Processes that are running read its keys as if another process had made them. It can be called once for a
// database.
func Fill(ctx context.Context, db *sql.DB, like string, n int) error {
	const chunk = 500
	master, err := domain.ParseMasterKey(domain.NewSecret(MasterKey))
	if err != nil {
		return err
	}
	signer := jwxsigner.New(rand.Reader)
	for from := 0; from < n; from += chunk {
		if err := fill(ctx, db, master, signer, like, from, min(from+chunk, n)); err != nil {
			return fmt.Errorf("fill: %w", err)
		}
	}
	return nil
}

func fill(
	ctx context.Context, db *sql.DB, master domain.MasterKey, signer *jwxsigner.Signer, like string, from, to int,
) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // does nothing after Commit
	var last int64
	if err := tx.QueryRowContext(ctx, `UPDATE key_ring SET revision = revision + $1 WHERE one = 1 RETURNING revision`,
		to-from).Scan(&last); err != nil {
		return err
	}
	var tenants, keys []any
	for i := from; i < to; i++ {
		tenants = append(tenants, Filled(i))
		private, err := signer.NewKey(domain.ES256)
		if err != nil {
			return err
		}
		var id [16]byte
		_, _ = rand.Read(id[:]) // never fails
		k, err := master.Seal(domain.SealedKey{
			Kind: domain.KeySigning, TenantID: Filled(i), Algorithm: domain.ES256, Number: 1,
			ID: base64.RawURLEncoding.EncodeToString(id[:]), CreatedAt: time.Now(),
		}, private, rand.Reader)
		if err != nil {
			return err
		}
		keys = append(keys, string(k.Kind), k.TenantID, string(k.Algorithm), int64(k.Number), k.ID, k.CreatedAt.UnixMicro(),
			int64(0), int64(0), []byte(k.Sealed), last-int64(to-1-i))
	}
	for _, insert := range []struct {
		into string
		args []any
		each int
	}{
		{`INSERT INTO tenants (id, name, issuer, settings, epoch, longest_ttl, deleted_at)
SELECT made.id, t.name, '', t.settings, 0, t.longest_ttl, 0
FROM tenants AS t, (SELECT '' AS id WHERE 1 = 0 UNION ALL VALUES %s) AS made WHERE t.id = '` + like + `'`, tenants, 1},
		{`INSERT INTO keys (kind, tenant_id, algorithm, number, id, created_at, starts_at, retired_at, sealed, revision)
VALUES %s`, keys, 10},
	} {
		rows := make([]string, len(insert.args)/insert.each)
		for i := range rows {
			places := make([]string, insert.each)
			for j := range places {
				places[j] = fmt.Sprintf("$%d", i*insert.each+j+1)
			}
			rows[i] = "(" + strings.Join(places, ", ") + ")"
		}
		if _, err := tx.ExecContext(ctx, fmt.Sprintf(insert.into, strings.Join(rows, ", ")), insert.args...); err != nil {
			return err
		}
	}
	columns := `id, name, settings, active, require_authentication, access_token_ttl, usage_policy, grace_period, slide_window, ` +
		`slide_maximum, policy`
	if _, err := tx.ExecContext(ctx, `INSERT INTO applications (tenant_id, `+columns+`)
SELECT made.id, a.`+strings.ReplaceAll(columns, ", ", ", a.")+` FROM tenants AS made, applications AS a
WHERE made.id >= $1 AND made.id <= $2 AND a.tenant_id = $3`, Filled(from), Filled(to-1), like); err != nil {
		return err
	}
	return tx.Commit()
}
