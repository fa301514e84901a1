package gormstore

import (
	"context"
	"time"

	"gorm.io/gorm"

	"github.com/refreshd/refreshd/domain"
)

// useOnce is one statement. Of concurrent ones with one key, the later ones wait for the first, and then compare its
// instant.
const useOnce = `
INSERT INTO used_keys (key, until) VALUES ($1, $2)
ON CONFLICT (key) DO UPDATE SET until = excluded.until WHERE used_keys.until <= $3`

// Once implements port.Once.
func (s *Store) Once(ctx context.Context, key []byte, now, until time.Time) error {
	return s.inTurn(ctx, "once", rowName{once: string(key)}, func() error {
		return s.writing(ctx, "once", func(db *gorm.DB) error {
			return wrote(db.Exec(useOnce, key, micros(until), micros(now)), domain.ErrDuplicate)
		})
	})
}
