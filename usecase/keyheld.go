package usecase

import "github.com/refreshd/refreshd/domain"

// Holds reports whether s has that content. It needs a master key that opens s.
func (k *Keys) Holds(s domain.SealedKey, content domain.Secret) (bool, error) {
	plain, _, err := k.open(s)
	if err != nil {
		return false, errCorrupt(s, err)
	}
	return plain.Equal(content), nil
}

// Rules returns the settings that the times of signing keys depend on.
func (k *Keys) Rules() domain.KeyRules { return k.rules() }
