package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/refreshd/refreshd/test/support/rig"
)

// A walk follows the cursors to the last page. Pages that repeat an object, are refused or have none are errors:
// their latencies would be of something else.
func TestAWalkReadsPagesOfDistinctObjects(t *testing.T) {
	for name, test := range map[string]struct {
		pages []string // the body of each; the last one has no link
		want  string   // part of the error
	}{
		"two pages":          {[]string{`{"data":[{"id":"a"},{"id":"b"}]}`, `{"data":[{"id":"c"}]}`}, ""},
		"an object twice":    {[]string{`{"data":[{"id":"a"}]}`, `{"data":[{"id":"a"}]}`}, "is on two pages"},
		"an object of no id": {[]string{`{"data":[{"name":"a"}]}`}, "has no id"},
		"no object":          {[]string{`{"data":[]}`, `{"data":[]}`}, "have no object"},
		"a refusal":          {[]string{`{}`, `401`}, "401"},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				got = append(got, r.URL.RequestURI())
				n := len(got)
				if n > len(test.pages) {
					t.Errorf("the page after the last one was read")
					return
				}
				if n < len(test.pages) {
					w.Header().Set("Link", fmt.Sprintf(`<?cursor=c%d&kind=x&limit=1000>; rel="next"`, n))
				}
				if test.pages[n-1] == "401" {
					w.WriteHeader(http.StatusUnauthorized)
				}
				fmt.Fprint(w, test.pages[n-1])
			}))
			defer server.Close()
			s := &service{&rig.Service{API: strings.TrimPrefix(server.URL, "http://")}}
			cursors, err := adminList{name: "events", path: "/audit?kind=x"}.walk(t.Context(), s, 5)
			if test.want != "" {
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Fatalf("got error %v, want %q", err, test.want)
				}
				return
			}
			if want := []string{"c1"}; err != nil || !slices.Equal(cursors, want) {
				t.Errorf("got cursors %q, %v, want %q", cursors, err, want)
			}
			want := []string{"/audit?kind=x&limit=1000", "/audit?kind=x&limit=1000&cursor=c1"}
			if !slices.Equal(got, want) {
				t.Errorf("got requests %q, want %q", got, want)
			}
		})
	}
}
