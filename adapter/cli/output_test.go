package cli

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// On a terminal a list of keys fits 100 columns, whatever has happened to them: the moments are beneath their key, none
// of them cut. A program gets one line for each key.
func TestAListOfKeysFitsATerminal(t *testing.T) {
	page := []json.RawMessage{json.RawMessage(`{"id":"NXRGzGX1Z5DsxE-aWxCPPQ","kind":"signing",
		"tenantId":"01981e2c-9a38-7b4d-8a8e-d5a2f1a4c0de","algorithm":"ES256","state":"published","timeline":[
		{"instant":1796072720188,"what":"made"},{"instant":1796072720188,"what":"starts"},
		{"instant":1796079920188,"what":"known"},{"instant":1803848720188,"what":"superseded"},
		{"instant":1803942320188,"what":"retirable"}]}`), json.RawMessage(`{"id":"token-1","kind":"token","timeline":[]}`)}
	columns := (&line{}).keyResource().columns
	var out, plain strings.Builder
	r := &rows{w: &out, format: "table", columns: columns, derive: timeLineOf, padded: true}
	if err := r.add(page); err != nil {
		t.Fatal(err)
	}
	for row := range strings.Lines(out.String()) {
		if n := utf8.RuneCountInString(strings.TrimSuffix(row, "\n")); n > 100 {
			t.Errorf("%d columns: %s", n, row)
		}
	}
	const want = `ID                      KIND     TENANT                                ALGORITHM  STATE      NAME
    TIME LINE
NXRGzGX1Z5DsxE-aWxCPPQ  signing  01981e2c-9a38-7b4d-8a8e-d5a2f1a4c0de  ES256      published
    2026-11-30 21:05 made, 2026-11-30 21:05 starts, 2026-11-30 23:05 known,
    2027-02-28 21:05 superseded, 2027-03-01 23:05 retirable
token-1                 token
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("on a terminal (-want +got):\n%s", diff)
	}
	if err := (&rows{w: &plain, format: "table", columns: columns, derive: timeLineOf}).add(page); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(plain.String(), "\n"); n != 3 || !strings.Contains(plain.String(), "\t2026-11-30 21:05 made, ") {
		t.Errorf("for a program:\n%s", plain.String())
	}
}
