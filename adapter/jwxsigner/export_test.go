package jwxsigner

// Kept returns the number of keys that are kept parsed.
func (s *Signer) Kept() (n int) {
	s.parsed.Range(func(any, any) bool {
		n++
		return true
	})
	return n
}
