package reachapi_test

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	"github.com/refreshd/refreshd/domain"
)

// frame is one frame of a response.
type frame struct {
	Event string          `json:"event"`
	ID    string          `json:"id"`
	Data  json.RawMessage `json:"data"`
	data  data
}

// data is the data of any frame.
type data struct {
	N       int64
	E       *int64
	Keep    int64
	Tenant  string
	Sids    []string            `json:"s"`
	Marks   [][]json.RawMessage `json:"m"`
	Keys    []string            `json:"k"`
	JWS     string
	After   int64
	Beat, V int64
}

// events parses a stream as a client does: an event ends with an empty line, and one that has not ended does not count.
func events(t testing.TB, body string) (all []frame) {
	t.Helper()
	parts := strings.Split(body, "\n\n")
	for _, part := range parts[:len(parts)-1] {
		var f frame
		for _, line := range strings.Split(part, "\n") {
			name, value, ok := strings.Cut(line, ": ")
			switch {
			case ok && name == "event" && f.Event == "":
				f.Event = value
			case ok && name == "id" && f.ID == "":
				f.ID = value
			case ok && name == "data" && f.Data == nil:
				f.Data = json.RawMessage(value)
			default:
				t.Errorf("a line of an event is %q", line)
			}
		}
		all = append(all, f)
	}
	return checked(t, all)
}

// array parses the response of a long poll.
func array(t testing.TB, body string) (all []frame) {
	t.Helper()
	if err := json.Unmarshal([]byte(body), &all); err != nil {
		t.Fatalf("%v in %q", err, body)
	}
	return checked(t, all)
}

// checked parses the data of frames, and checks what holds for each response: it begins with hello, nothing follows
// bye, the numbers have no gap, and the cursor of fresh never decreases.
func checked(t testing.TB, all []frame) []frame {
	t.Helper()
	n, cursor := int64(0), domain.Position(0)
	for i := range all {
		f := &all[i]
		parse(t, f)
		numbered := f.Event == "facts" || f.Event == "fresh" || f.Event == "proof"
		if numbered {
			n++
		}
		if numbered && f.data.N != n || !numbered && f.data.N != 0 {
			t.Errorf("frame %d, %s, has the number %d, want %d", i, f.Event, f.data.N, n)
		}
		if (f.Event == "hello") != (i == 0) || f.Event == "bye" && i != len(all)-1 {
			t.Errorf("%s is frame %d of %d", f.Event, i, len(all))
		}
		if (f.Event == "fresh") != (f.ID != "") || (f.Event == "fresh") != (f.data.E != nil) {
			t.Errorf("%s has the id %q and the data %s", f.Event, f.ID, f.Data)
		}
		if f.Event == "fresh" {
			p, err := json.Number(f.ID).Int64()
			if err != nil || domain.Position(p) < cursor {
				t.Errorf("the cursor %s follows %d", f.ID, cursor)
			}
			cursor = domain.Position(p)
		}
	}
	return all
}

func parse(t testing.TB, f *frame) {
	if err := json.Unmarshal(f.Data, &f.data); err != nil {
		t.Errorf("the data of %s: %v in %q", f.Event, err, f.Data)
	}
}

// sids returns the ids of sessions in frames, in their order, as the numbers that sessionFact gave them.
func sids(t testing.TB, all []frame) (numbers []int) {
	t.Helper()
	for _, f := range all {
		for _, text := range f.data.Sids {
			id, err := base64.RawURLEncoding.DecodeString(text)
			if err != nil || len(id) != 16 {
				t.Errorf("the session %q: %v", text, err)
				continue
			}
			numbers = append(numbers, int(id[13])<<16|int(id[14])<<8|int(id[15]))
		}
	}
	return numbers
}

// session is the fact of a session with that number.
func session(tenantID string, n int) domain.Fact {
	return domain.Fact{TenantID: tenantID, SessionID: domain.ID{0: 1, 13: byte(n >> 16), 14: byte(n >> 8), 15: byte(n)}}
}

// sessions returns the facts of sessions with the numbers from first to last.
func sessions(tenantID string, first, last int) (all []domain.Fact) {
	for n := first; n <= last; n++ {
		all = append(all, session(tenantID, n))
	}
	return all
}

// named returns the names of frames.
func named(all []frame) string {
	var names []string
	for _, f := range all {
		names = append(names, f.Event)
	}
	return strings.Join(names, " ")
}

func last(all []frame, event string) frame {
	for i := len(all) - 1; i >= 0; i-- {
		if all[i].Event == event {
			return all[i]
		}
	}
	return frame{}
}
