package gormstore_test

import (
	"errors"
	"testing"
	"time"

	"github.com/refreshd/refreshd/adapter/gormstore"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
	"github.com/refreshd/refreshd/test/storagetest"
)

var _ port.Reach = (*gormstore.Store)(nil)

// facts returns what Revoked reports above after, and the head.
func facts(t *testing.T, s *gormstore.Store, after domain.Position) ([]domain.Fact, domain.Position) {
	t.Helper()
	var all []domain.Fact
	head := must(s.Revoked(t.Context(), after, func(f domain.Fact) { all = append(all, f) }))(t)
	return all, head
}

func TestFactsGetOnePositionAStamp(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		s := d.migrated(t, gormstore.Options{})
		shop(t, s)
		tokens := issue(t, s, 2)
		none, first := facts(t, s, 0)
		if len(none) != 0 {
			t.Errorf("got the facts %v of a new store", none)
		}
		r := port.Revocation{At: start, Reason: domain.RevokedByRequest}
		if err := s.Revoke(t.Context(), "acme", tokens[0].ID, r, storagetest.NewEvent()); err != nil {
			t.Fatal(err)
		}
		scope := domain.Scope{TenantID: "acme", UserID: "user-1"}
		epoch := must(s.RevokeScope(t.Context(), scope, tokens[1].ID, r, storagetest.NewEvent()))(t)
		for _, want := range []int{1, 0} {
			if got := must(s.Stamp(t.Context(), time.Now(), 10))(t); got != want {
				t.Errorf("Stamp = %d, want %d", got, want)
			}
		}
		all, head := facts(t, s, first)
		if len(all) != 2 || head <= first {
			t.Fatalf("got %v up to %d, want two facts above %d", all, head, first)
		}
		want := []domain.Fact{
			{Position: head, TenantID: "acme", SessionID: tokens[0].ID},
			{Position: head, TenantID: "acme", Epoch: epoch, UserID: "user-1", Except: tokens[1].ID},
		}
		if all[0] != want[0] || all[1] != want[1] {
			t.Errorf("got %v, want %v", all, want)
		}
		if err := s.Beat(t.Context(), "reader", time.Now()); err != nil {
			t.Error(err)
		}
		if got, err := s.LongestAccessTTL(t.Context(), "acme"); got != 15*time.Minute || err != nil {
			t.Errorf("LongestAccessTTL = %v, %v, want the default", got, err)
		}
		if _, err := s.LongestAccessTTL(t.Context(), "nobody"); !errors.Is(err, domain.ErrNotFound) {
			t.Errorf("LongestAccessTTL of no tenant: %v, want ErrNotFound", err)
		}
	})
}
