package contract

import (
	"iter"
	"strings"
)

// Secrets are the secrets that the tests of a package got. Goroutines may use them concurrently.
type Secrets struct{ all set }

// Add adds the parts of a secret between its dots. The header of a JWT is no secret.
func (s *Secrets) Add(secret string) {
	pieces := strings.Split(secret, ".")
	if len(pieces) == 3 {
		pieces = pieces[1:]
	}
	for _, piece := range pieces {
		if len(piece) > 8 {
			s.all.add(piece)
		}
	}
}

// In returns the secrets that a log has as a word, and any text that looks like a secret.
func (s *Secrets) In(log string) (found []string) {
	for word, isWord := range words(log) {
		if !isWord {
			continue
		}
		for piece := range strings.SplitSeq(word, ".") {
			if s.all.has(piece) || looksSecret(piece) {
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
