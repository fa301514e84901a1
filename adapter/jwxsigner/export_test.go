package jwxsigner

// Kept returns the number of keys that are kept parsed.
func (s *Signer) Kept() (n int) {
	s.parsed.Range(func(any, any) bool {
		n++
		return true
	})
	return n
}

// Thumbprint returns the thumbprint of a public key in the form of a JWK.
func Thumbprint(text string) (string, error) {
	k, err := parsePublic([]byte(text))
	return k.thumbprint, err
}
