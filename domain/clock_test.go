package domain_test

import (
	"errors"
	"testing"
	"time"

	"github.com/refreshd/refreshd/domain"
)

func TestClocksThatDifferByMoreThanTheyMayAreAFault(t *testing.T) {
	for _, tt := range []struct {
		ahead time.Duration
		want  string // empty for no fault
	}{
		{0, ""},
		{time.Minute, ""},
		{-time.Minute, ""},
		{time.Minute + µs, "the clock of this machine is 1m0s ahead of that of the database: synchronize both by NTP"},
		{-time.Minute - µs, "the clock of this machine is 1m0s behind that of the database: synchronize both by NTP"},
		{31*24*time.Hour + 700*time.Millisecond,
			"the clock of this machine is 744h0m1s ahead of that of the database: synchronize both by NTP"},
	} {
		err := domain.CheckClocks(issued.Add(tt.ahead), issued, domain.MaxClockSkew)
		var fault *domain.ClockError
		switch {
		case tt.want == "":
			if err != nil {
				t.Errorf("%s: got %v, want none", tt.ahead, err)
			}
		case !errors.As(err, &fault) || fault.Ahead != tt.ahead || err.Error() != tt.want:
			t.Errorf("%s: got %v, want %q", tt.ahead, err, tt.want)
		}
	}
}
