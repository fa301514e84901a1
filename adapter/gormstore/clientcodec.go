package gormstore

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/refreshd/refreshd/domain"
)

// clientJSON is domain.Client in the column client. The zero value is the empty text there, as in the rows of a program
// that does not know the column. The same client is always the same text, because RehashClientSecrets compares it.
type clientJSON struct {
	Secrets   []secretJSON `json:"secrets,omitempty"`
	Keys      string       `json:"keys,omitempty"`
	Audiences []string     `json:"audiences,omitempty"`
	Origins   []string     `json:"origins,omitempty"`
}

type secretJSON struct {
	Hash      []byte `json:"hash"`
	HashKey   uint32 `json:"hashKey"`
	CreatedAt int64  `json:"createdAt"` // microseconds since 1970
}

func encodeClient(c domain.Client) (string, error) {
	if c.Equal(domain.Client{}) {
		return "", nil
	}
	row := clientJSON{Keys: c.Keys, Audiences: c.Audiences, Origins: c.Origins}
	for _, s := range c.Secrets {
		row.Secrets = append(row.Secrets, secretJSON{[]byte(s.Hash), s.HashKey, micros(s.CreatedAt)})
	}
	text, err := json.Marshal(row)
	return string(text), err
}

func decodeClient(text string) (c domain.Client, err error) {
	if text == "" {
		return c, nil
	}
	var row clientJSON
	if err := json.Unmarshal([]byte(text), &row); err != nil {
		return c, fmt.Errorf("the column client of an application: %w", err)
	}
	c = domain.Client{Keys: row.Keys, Audiences: row.Audiences, Origins: row.Origins}
	for _, s := range row.Secrets {
		c.Secrets = append(c.Secrets, domain.ClientSecret{
			Hash: string(s.Hash), HashKey: s.HashKey, CreatedAt: time.UnixMicro(s.CreatedAt).UTC(),
		})
	}
	return c, nil
}

// loginJSON is domain.LoginEndpoints in the column login of a tenant, with the empty text for none.
type loginJSON struct {
	Authorization string `json:"authorization,omitempty"`
	EndSession    string `json:"endSession,omitempty"`
	Userinfo      string `json:"userinfo,omitempty"`
}

func encodeLogin(l domain.LoginEndpoints) (string, error) {
	if l == (domain.LoginEndpoints{}) {
		return "", nil
	}
	text, err := json.Marshal(loginJSON(l))
	return string(text), err
}

func decodeLogin(text string) (domain.LoginEndpoints, error) {
	var row loginJSON
	if text == "" {
		return domain.LoginEndpoints{}, nil
	}
	if err := json.Unmarshal([]byte(text), &row); err != nil {
		return domain.LoginEndpoints{}, fmt.Errorf("the column login of a tenant: %w", err)
	}
	return domain.LoginEndpoints(row), nil
}
