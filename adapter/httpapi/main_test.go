package httpapi_test

import (
	"flag"
	"fmt"
	"iter"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/refreshd/refreshd/test/support/contract"
)

// captured has every log line of the package's tests.
var captured logBuffer

type logBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// secrets has every secret that the package's tests have seen.
var secrets secretSet

type secretSet struct {
	mu  sync.Mutex
	all map[string]bool
}

// words splits a text into runs of the characters of secrets, ids and numbers, and the text between them.
func words(text string) iter.Seq2[string, bool] {
	return func(yield func(part string, isWord bool) bool) {
		start := 0
		for i := 1; i <= len(text); i++ {
			if i == len(text) || wordBytes[text[i]] != wordBytes[text[start]] {
				if !yield(text[start:i], wordBytes[text[start]]) {
					return
				}
				start = i
			}
		}
	}
}

var wordBytes = func() (in [256]bool) {
	for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-.") {
		in[c] = true
	}
	return in
}()

// add records the parts of a secret between its dots. The header of a JWT is no secret.
func (s *secretSet) add(secret string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = map[string]bool{}
	}
	pieces := strings.Split(secret, ".")
	if len(pieces) == 3 {
		pieces = pieces[1:]
	}
	for _, piece := range pieces {
		if len(piece) > 8 {
			s.all[piece] = true
		}
	}
}

// found returns the secrets in a log: those that it has as a word, and any text that looks like a secret.
func (s *secretSet) found(log string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []string
	for word, isWord := range words(log) {
		if !isWord {
			continue
		}
		for piece := range strings.SplitSeq(word, ".") {
			if s.all[piece] || looksSecret(piece) {
				found = append(found, piece)
			}
		}
	}
	return found
}

// looksSecret reports whether a word contains the beginning of a secret and a large part of its rest.
func looksSecret(word string) bool {
	for _, prefix := range []string{"rt_", "ak_", "eyJ"} {
		if _, rest, found := strings.Cut(word, prefix); found && len(rest) >= 12 {
			return true
		}
	}
	return false
}

// seen has the operations and statuses that the tests got, and seenCodes the error codes.
var seen, seenCodes wordSet

type wordSet struct {
	mu  sync.Mutex
	all map[string]bool
}

func (s *wordSet) add(word string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = map[string]bool{}
	}
	s.all[word] = true
}

// unseen returns the promises of the document that no test got: operations with their statuses, except those that no
// request can cause here, the codes of its examples, and a success in each of the spellings that the document does not
// have.
func unseen() ([]string, error) {
	doc, err := document()
	if err != nil {
		return nil, err
	}
	var missing []string
	for _, item := range doc.Paths.Map() {
		for _, op := range item.Operations() {
			for name := range contract.Aliases {
				for _, alias := range contract.AliasesIn(op, name) {
					if name := op.OperationID + " " + alias + " 200"; !seen.all[name] {
						missing = append(missing, name)
					}
				}
			}
			for status := range op.Responses.Map() {
				name := op.OperationID + " " + status
				switch {
				case seen.all[name]:
				case status == "500" &&
					slices.Contains([]string{"health", "openapi", "docs", "docsStyle", "docsScript"}, op.OperationID):
					// Their handlers call no code that could fail or panic.
				default:
					missing = append(missing, name)
				}
			}
		}
	}
	for _, f := range contract.Forms {
		if name := f.String() + " 200"; !seen.all[name] {
			missing = append(missing, name)
		}
	}
	text, err := os.ReadFile("openapi.yaml")
	for _, match := range exampleCode.FindAllSubmatch(text, -1) {
		if code := string(match[1]); !seenCodes.all[code] {
			missing = append(missing, "the example "+code)
		}
	}
	slices.Sort(missing)
	return missing, err
}

// exampleCode finds the codes in the document's examples.
var exampleCode = regexp.MustCompile(`code: '(\[[a-zA-Z]+\][^']*)'`)

// TestMain checks the whole run: no log line had a secret, and the tests got every response that the document promises.
// The second check is only possible after a run of all tests.
func TestMain(m *testing.M) {
	status := m.Run()
	log := captured.String()
	if found := secrets.found(log); len(found) > 0 {
		fmt.Fprintf(os.Stderr, "FAIL: %d secrets in the log, the first is %q\n", len(found), found[0])
		status = 1
	}
	narrowed := ""
	for _, name := range []string{"test.run", "test.skip", "test.list"} {
		narrowed += flag.Lookup(name).Value.String()
	}
	if narrowed == "" && status == 0 {
		missing, err := unseen()
		if err != nil || len(missing) > 0 {
			fmt.Fprintf(os.Stderr, "FAIL: documented, and met by no test: %s %v\n", strings.Join(missing, ", "), err)
			status = 1
		}
		if len(log) == 0 || len(secrets.all) == 0 {
			fmt.Fprintln(os.Stderr, "FAIL: the search for secrets in the log had nothing to search")
			status = 1
		}
	}
	os.Exit(status)
}

// If this search found nothing, the check of the log would be useless.
func TestSecretsInALogAreFound(t *testing.T) {
	var s secretSet
	s.add("aaaaaaaaaaaaaaaa")
	s.add("header.bbbbbbbbbbbb.cccccccccccc")
	for name, test := range map[string]struct {
		log  string
		want bool
	}{
		"a whole secret":             {`{"error":"no key aaaaaaaaaaaaaaaa"}`, true},
		"a signature":                {`token=cccccccccccc`, true},
		"a payload":                  {`x.bbbbbbbbbbbb.y`, true},
		"a token string, as a shape": {`\nrt_AQAAAQGbL248Wn1Bngxb`, true},
		"an API key, as a shape":     {`key=ak_AQAAAQGbL248Wn1Bngxb`, true},
		"an access token, as one":    {`"eyJhbGciOiJFZERTQSIs"`, true},
		"a JWT's header":             {`header`, false},
		"an id":                      {`"refreshTokenId":"019b2f6e-3c5a-7d41-9e0c-5b7a8d2f1c34"`, false},
	} {
		if got := len(s.found(test.log)) > 0; got != test.want {
			t.Errorf("%s: got found %t, want %t", name, got, test.want)
		}
	}
}
