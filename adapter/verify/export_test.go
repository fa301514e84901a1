package verify

// ForgetTokens empties the cache of tokens whose signature was verified.
func (v *Verifier) ForgetTokens() {
	v.cache.mu.Lock()
	defer v.cache.mu.Unlock()
	clear(v.cache.young)
	clear(v.cache.old)
}
