package usecase

import (
	"context"
	"fmt"
)

// KeyCheck is the result of [Keys.CheckAll].
type KeyCheck struct {
	Stored   int
	Previous int      // of these, those that only the previous master key opens
	Unopened []string // of these, those that no master key of this process opens, as "signing key 2 of tenant acme"
}

// CheckAll opens every stored key, and writes nothing. A start opens only those of no tenant, and finds another one
// that does not open when it is needed.
func (k *Keys) CheckAll(ctx context.Context) (found KeyCheck, err error) {
	since := uint64(0)
	for {
		page, err := k.Store.KeysSince(ctx, since, keyPage)
		if err != nil {
			return KeyCheck{}, Wrap("check the keys", err)
		}
		for _, s := range page {
			since = s.Revision
			found.Stored++
			switch k.sealedBy(s) {
			case &k.Master:
			case nil:
				text := fmt.Sprintf("%s key %d", s.Kind, s.Number)
				if s.TenantID != "" {
					text += " of tenant " + s.TenantID
				}
				found.Unopened = append(found.Unopened, text)
			default:
				found.Previous++
			}
		}
		if len(page) < keyPage {
			return found, nil
		}
	}
}
