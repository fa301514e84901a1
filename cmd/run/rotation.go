package run

import (
	"context"
	"crypto/rand"

	"github.com/refreshd/refreshd/usecase"
)

// rotateKeys makes keys ahead of their use, and retires those that are not needed any more, until ctx is done. It does
// not stop if that fails, and logs the first of several failures: keys in use sign on.
func (s *service) rotateKeys(ctx context.Context) error {
	rotation := usecase.KeyRotation{
		Keys: s.keys, Tenants: s.store, Jobs: s.store, Clock: s.clock, Pause: pause, LeaseHolder: rand.Text(),
	}
	failing := false
	rotation.Run(ctx, func(did usecase.KeyPass, err error) {
		switch {
		case err != nil && !failing:
			s.log.Warn("keys cannot be rotated, will retry; the present ones stay in use",
				"event", eventKeyRotateFailed, "error", err)
		case err == nil && (failing || did.Made+did.Retired > 0):
			s.log.Info("keys were rotated", "event", eventKeysRotated, "made", did.Made, "retired", did.Retired)
		}
		failing = err != nil
	})
	return nil
}
