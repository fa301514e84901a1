package verify

import (
	"crypto/sha256"
	"slices"
	"sync"
)

// A client sends its access token with each request, and its signature is most of the work.
const (
	cachedTokens  = 4096    // of each generation
	cachedMaximum = 2 << 10 // bytes of a token; so the cache takes about 20 MB at most
)

// cache has tokens whose signature, issuer and audience were checked, by the SHA-256 of their text. It
// holds no decision: what depends on time, on the view and on the request is checked each time. A token serves from it
// as long as its kid selects that key, so that a withdrawn key ends here as well. Only what the issuer signed takes
// room.
//
// It has two generations. When the young one is full, it takes the place of the old one, and what is used moves back
// into the young one: an approximation of "least recently used" without a list.
type cache struct {
	mu         sync.Mutex
	young, old map[[sha256.Size]byte]*Token // not changed
}

func newCache() *cache { return &cache{young: map[[sha256.Size]byte]*Token{}} }

// find returns a copy of the token if it is known, and by selects the key that verified it.
func (c *cache) find(digest [sha256.Size]byte, by func(kid string) *key) (*Token, bool) {
	c.mu.Lock()
	found, ok := c.young[digest]
	if !ok {
		if found, ok = c.old[digest]; ok {
			c.put(digest, found)
		}
	}
	c.mu.Unlock()
	if !ok || by(found.subject.kid) != found.key {
		return nil, false
	}
	return found.copy(), true
}

// add remembers a token whose text has size bytes.
func (c *cache) add(t *Token, size int) {
	if size > cachedMaximum {
		return
	}
	own := t.copy()
	c.mu.Lock()
	c.put(t.digest, own)
	c.mu.Unlock()
}

func (c *cache) put(digest [sha256.Size]byte, t *Token) {
	if len(c.young) >= cachedTokens {
		c.young, c.old = map[[sha256.Size]byte]*Token{}, c.young
	}
	c.young[digest] = t
}

// copy returns a copy that its user may change.
func (t *Token) copy() *Token {
	own := *t
	own.Audience, own.Roles, own.Scopes = slices.Clone(t.Audience), slices.Clone(t.Roles), slices.Clone(t.Scopes)
	own.Claims, own.Actors = slices.Clone(t.Claims), slices.Clone(t.Actors)
	return &own
}
