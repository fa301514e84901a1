package verify

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"testing"
	"time"
)

// The memory of proofs is bounded. A proof without room in it is refused: one that is forgotten could be used again.
func TestTheMemoryOfProofsIsBounded(t *testing.T) {
	const most = 1200
	now := time.Unix(1_800_000_000, 0)
	s := newReplays(most)
	proofAt := func(n int, iat time.Time) proof {
		return proof{iat: iat, id: sha256.Sum256(fmt.Append(nil, n))}
	}
	for n := range most {
		// From the whole window, in any order.
		if err := s.use(proofAt(n, now.Add(time.Duration(n%120-59)*time.Second)), now); err != nil {
			t.Fatalf("%d: %v", n, err)
		}
	}
	if err := s.use(proofAt(-1, now), now); !errors.Is(err, ErrStale) {
		t.Errorf("one more: got %v, want ErrStale", err)
	}
	if err := s.use(proofAt(59, now), now); !errors.Is(err, ErrInvalid) {
		t.Errorf("one that was used: got %v, want ErrInvalid", err)
	}
	// Time makes room.
	later := now.Add(30 * time.Second)
	if err := s.use(proofAt(-1, later), later); err != nil {
		t.Errorf("after 30 s: %v", err)
	}
	last := now.Add(3 * time.Minute)
	if err := s.use(proofAt(-2, last), last); err != nil || s.count != 1 || len(s.sets) != 1 {
		t.Errorf("after the window: %v, %d proofs in %d sets, want 1 in 1", err, s.count, len(s.sets))
	}
	// A proof that was forgotten is not accepted by a clock that is set back.
	if err := s.use(proofAt(1, now), now); !errors.Is(err, ErrInvalid) {
		t.Errorf("with the clock set back: got %v, want ErrInvalid", err)
	}
}
