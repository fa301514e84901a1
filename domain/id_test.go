package domain_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/uuid"

	"github.com/refreshd/refreshd/domain"
)

func TestNewIDIsAUUIDOfVersion7(t *testing.T) {
	at := time.UnixMilli(0x018f2a3b4c5d).Add(999 * µs)
	for _, tt := range []struct {
		random string
		want   string
	}{
		{strings.Repeat("\x00", 10), "018f2a3b-4c5d-7000-8000-000000000000"},
		{strings.Repeat("\xff", 10), "018f2a3b-4c5d-7fff-bfff-ffffffffffff"},
		{"\x16\x6e\x87\x7f\x80\x91\xa2\xb3\xc4\xd5", "018f2a3b-4c5d-766e-877f-8091a2b3c4d5"},
	} {
		id, err := domain.NewID(at, strings.NewReader(tt.random))
		if err != nil || id.String() != tt.want {
			t.Errorf("random %x: got %s (%v), want %s", tt.random, id, err, tt.want)
		}
		u, err := uuid.Parse(id.String())
		if err != nil || u.Version() != 7 || u.Variant() != uuid.RFC4122 {
			t.Errorf("%s: version %d, variant %s (%v)", id, u.Version(), u.Variant(), err)
		}
	}
}

func TestAnIDOfVersion7SaysWhenItWasMade(t *testing.T) {
	for _, at := range []time.Time{issued, time.UnixMilli(0), time.UnixMilli(1<<48 - 1)} {
		id, err := domain.NewID(at, strings.NewReader("0123456789"))
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := id.Time(); !ok || !got.Equal(at.Truncate(time.Millisecond)) || got.Location() != time.UTC {
			t.Errorf("got %s, %t, want %s", got, ok, at)
		}
	}
	random, _ := domain.ParseID("f47ac10b-58cc-4372-a567-0e02b2c3d479")
	if got, ok := random.Time(); ok || !got.IsZero() {
		t.Errorf("an id of version 4 says %s", got)
	}
	variant := tokenID
	variant[8] |= 0xc0
	if got, ok := variant.Time(); ok || !got.IsZero() {
		t.Errorf("an id of another variant says %s", got)
	}
}

// An id whose refresh token may have been deleted must not be used again: the token strings of both would be the same.
func TestAnIDIsStaleOnceItsRefreshTokenMayBeGone(t *testing.T) {
	made := issued.Truncate(time.Millisecond)
	id, _ := domain.NewID(made, strings.NewReader("0123456789"))
	random, _ := domain.ParseID("01942f6e-3c5a-4d41-9e0c-5b7a8d2f1c34")
	for _, tt := range []struct {
		id   domain.ID
		age  time.Duration
		kept time.Duration
		want bool
	}{
		{id, 0, time.Hour, false},
		{id, -48 * time.Hour, time.Hour, false},
		// One minute for an id that was made ahead of the clock of its issue, and one for that clock.
		{id, 58*time.Minute - µs, time.Hour, false},
		{id, 58 * time.Minute, time.Hour, true},
		{id, 1000 * time.Hour, time.Hour, true},
		{id, 1000 * time.Hour, 0, false},
		{random, 1000 * time.Hour, time.Hour, false},
	} {
		if got := tt.id.IsStale(made.Add(tt.age), tt.kept); got != tt.want {
			t.Errorf("%s, %s old where ended refresh tokens are kept for %s: %t, want %t", tt.id, tt.age, tt.kept, got, tt.want)
		}
	}
}

// A caller's id must hold its time; otherwise nothing could show whether its refresh token was deleted since. One made
// ahead would stay valid for longer.
func TestCheckChosen(t *testing.T) {
	made := issued.Truncate(time.Millisecond)
	id, err := domain.NewID(made, strings.NewReader("0123456789"))
	if err != nil {
		t.Fatal(err)
	}
	for _, ahead := range []time.Duration{0, -1000 * day, time.Minute} {
		if err := id.CheckChosen(made.Add(-ahead)); err != nil {
			t.Errorf("%s ahead: got %v, want no error", ahead, err)
		}
	}
	wantCodes(t, id.CheckChosen(made.Add(-time.Minute-µs)), "[invalid]refreshTokenId")
	for version := range byte(16) {
		other := id
		other[6] = other[6]&0x0f | version<<4
		if version != 7 {
			wantCodes(t, other.CheckChosen(made), "[invalid]refreshTokenId")
		}
	}
}

// A list is in the order of ids.
func TestIDsAreInOrderOfIssue(t *testing.T) {
	low, high := strings.Repeat("\x00", 10), strings.Repeat("\xff", 10)
	at := time.UnixMilli(0x018f2a3b00ff) // so that the next millisecond carries
	for range 300 {
		earlier, _ := domain.NewID(at, strings.NewReader(high))
		at = at.Add(time.Millisecond)
		later, _ := domain.NewID(at, strings.NewReader(low))
		if bytes.Compare(earlier[:], later[:]) >= 0 {
			t.Fatalf("%s is not before %s", earlier, later)
		}
		if earlier.String() >= later.String() {
			t.Fatalf("as text, %s is not before %s", earlier, later)
		}
	}
}

func TestNewIDNeedsAllItsRandomness(t *testing.T) {
	if id, err := domain.NewID(issued, strings.NewReader("123456789")); err == nil || !id.IsZero() {
		t.Errorf("9 bytes: got %s, %v", id, err)
	}
	broken := errors.New("broken")
	if _, err := domain.NewID(issued, iotest.ErrReader(broken)); !errors.Is(err, broken) {
		t.Errorf("got %v, want the reader's error", err)
	}
}

func TestParseID(t *testing.T) {
	const text = "018f2a3b-4c5d-766e-877f-8091a2b3c4d5"
	for _, s := range []string{text, strings.ToUpper(text)} {
		if id, ok := domain.ParseID(s); !ok || id != tokenID || id.String() != text {
			t.Errorf("%s: got %s, %t", s, id, ok)
		}
	}
	if _, ok := domain.ParseID("f47ac10b-58cc-4372-a567-0e02b2c3d479"); !ok {
		t.Error("a caller's UUID of version 4 is refused")
	}
	for name, s := range map[string]string{
		"empty":             "",
		"nil UUID":          "00000000-0000-0000-0000-000000000000",
		"short":             text[:35],
		"long":              text + "0",
		"braces":            "{" + text + "}",
		"urn":               "urn:uuid:" + text,
		"no hyphens":        strings.ReplaceAll(text, "-", ""),
		"hyphens elsewhere": "018f2a3b4-c5d-766e-877f-8091a2b3c4d5",
		"hyphen too many":   "018f2a3b-4c5d-766e-877f-8091a2b3c4-5",
		"no digit":          "018f2a3g-4c5d-766e-877f-8091a2b3c4d5",
		"blank":             "018f2a3b-4c5d-766e-877f-8091a2b3c4d ",
		"line feed":         "018f2a3b-4c5d-766e-877f-8091a2b3c4d\n",
		"fullwidth digit":   "018f2a3b-4c5d-766e-877f-8091a2b3c\uff11",
	} {
		if id, ok := domain.ParseID(s); ok {
			t.Errorf("%s: got %s", name, id)
		}
	}
}

func FuzzParseID(f *testing.F) {
	f.Add("018f2a3b-4c5d-766e-877f-8091a2b3c4d5")
	f.Fuzz(func(t *testing.T, s string) {
		if id, ok := domain.ParseID(s); ok && id.String() != strings.ToLower(s) {
			t.Fatalf("%q is read as %s", s, id)
		}
	})
}
