package verify

// Bindings returns the number of contexts that are watched.
func (v *Verifier) Bindings() int {
	v.bound.mu.Lock()
	defer v.bound.mu.Unlock()
	return len(v.bound.all)
}

// ForgetTokens empties the cache of tokens whose signature was verified.
func (v *Verifier) ForgetTokens() {
	v.cache.mu.Lock()
	defer v.cache.mu.Unlock()
	clear(v.cache.young)
	clear(v.cache.old)
}
