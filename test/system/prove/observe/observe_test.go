package observe_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/refreshd/refreshd/test/system/prove/observe"
)

// What one process writes, the other one reads.
func TestLinesAreReadAsTheyWereWritten(t *testing.T) {
	for _, o := range []observe.Observation{
		{Result: observe.Accepted, Token: 7, Start: 5 * time.Second, End: 6 * time.Second, AsOf: -1},
		{Result: observe.Revoked, Token: 1, Start: 1, End: 2},
		{Result: observe.Invalid, Token: 2, Start: 1, End: 2, Text: "no such key"},
	} {
		got, err := observe.Parse(o.String())
		if err != nil || got != o {
			t.Errorf("Parse(%q) = %+v, %v, want %+v", o, got, err, o)
		}
	}
	for _, c := range []observe.Command{{Add: 3, Audience: "web", Token: "a.b.c"}, {Remove: 4}, {Hurry: 5}} {
		got, err := observe.ParseCommand(c.String())
		if err != nil || !cmp.Equal(got, c) {
			t.Errorf("ParseCommand(%q) = %+v, %v, want %+v", c, got, err, c)
		}
	}
}

// A process that is killed while it writes leaves a part of a line.
func TestPartsOfLinesAreRefused(t *testing.T) {
	for _, line := range []string{"", "a", "a 7", "a 7 1 2", "z 7 1 2 3", "a x 1 2 3", "aa 7 1 2 3"} {
		if o, err := observe.Parse(line); err == nil {
			t.Errorf("Parse(%q) = %+v, want an error", line, o)
		}
	}
	for _, line := range []string{"", "add", "add 3", "add 3 a.b.c", "add 0 web a.b.c", "remove", "remove x",
		"hurry 1 2", "sing 1"} {
		if c, err := observe.ParseCommand(line); err == nil {
			t.Errorf("ParseCommand(%q) = %+v, want an error", line, c)
		}
	}
}

func TestMonotonicGrows(t *testing.T) {
	first := observe.Monotonic()
	if again := observe.Monotonic(); first <= 0 || again < first {
		t.Errorf("Monotonic() = %d, and then %d", first, again)
	}
}
