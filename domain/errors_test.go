package domain_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/refreshd/refreshd/domain"
)

func TestProblems(t *testing.T) {
	var p domain.Problems
	if err := p.Err(); err != nil {
		t.Errorf("nothing noted: got %v", err)
	}
	p.Merge("tenants[0].", nil)
	p.Add("userId", domain.Blank, "say who")
	p.Merge("tenants[0].", fmt.Errorf("apply: %w", domain.NewInvalid("id", domain.Malformed, "use letters")))
	p.Merge("apiKeys[1].", errors.New("no such variable"))
	wantCodes(t, p.Err(), "[blank]userId", "[invalid]tenants[0].id", "[invalid]apiKeys[1]")
	want := "invalid input: [blank]userId: say who; [invalid]tenants[0].id: use letters; " +
		"[invalid]apiKeys[1]: no such variable"
	if got := p.Err().Error(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestSentinelsAreDistinct(t *testing.T) {
	all := []error{domain.ErrNotFound, domain.ErrConflict, domain.ErrDuplicate, domain.ErrUnauthorized,
		domain.ErrUnavailable, domain.ErrBusy,
		domain.ErrAuthenticationRequired, domain.ErrProofRequired, domain.ErrAhead, domain.ErrLifetimeTooLong,
		domain.ErrWrongMasterKey}
	for i, a := range all {
		for j, b := range all {
			if errors.Is(fmt.Errorf("x: %w", a), b) != (i == j) {
				t.Errorf("%v is %v", a, b)
			}
		}
	}
}
