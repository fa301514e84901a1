package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"

	"github.com/refreshd/refreshd/domain"
)

// ErrTwoSecrets says that an application has two client secrets, and that another one would end one of them. It is
// wrapped with an *Invalid.
var ErrTwoSecrets = errors.New("two client secrets are valid")

func errTwoSecrets() error {
	return fmt.Errorf("%w: %w", ErrTwoSecrets, domain.NewInvalid(domain.FieldClientSecrets, domain.Conflict,
		"two client secrets are valid, and one would end: end the previous one first (DELETE /application/:id/secret, or "+
			"`refreshd application end-previous`), or make the new one with \"force\": true or --force"))
}

// NewSecret makes a client secret, which becomes the newest; the one that was the newest stays valid as the previous
// one. While there are two, NewSecret returns ErrTwoSecrets, or ends the older one if force is true. Otherwise its
// errors are those of Change.
func (u *Applications) NewSecret(
	ctx context.Context, by By, id string, expect Expect, force bool,
) (domain.Application, domain.Secret, error) {
	made, err := domain.NewClientSecret(u.Random)
	if err != nil {
		return domain.Application{}, domain.Secret{}, err
	}
	a, err := u.change(ctx, by, id, expect, func(a domain.Application) (domain.Application, error) {
		if !force && len(a.Client.Secrets) >= domain.MaxClientSecrets {
			return a, errTwoSecrets()
		}
		hash, number := u.Keys.HashClientSecret(a.TenantID, a.ID, made)
		kept := a.Client.Secrets[:min(len(a.Client.Secrets), domain.MaxClientSecrets-1)]
		a.Client.Secrets = append([]domain.ClientSecret{{Hash: hash, HashKey: number, CreatedAt: u.Clock.Now()}}, kept...)
		return a, nil
	})
	if err != nil {
		return domain.Application{}, domain.Secret{}, result("make a client secret", err)
	}
	return a, made, nil
}

// EndSecrets ends the previous client secret, and keeps the newest; with all it ends both, which makes the application
// a public client unless it has keys. It returns how many it ended. If there is none to end, nothing is written.
func (u *Applications) EndSecrets(
	ctx context.Context, by By, id string, expect Expect, all bool,
) (a domain.Application, ended int, err error) {
	a, err = u.change(ctx, by, id, expect, func(a domain.Application) (domain.Application, error) {
		kept := min(len(a.Client.Secrets), 1)
		if all {
			kept = 0
		}
		ended = len(a.Client.Secrets) - kept
		a.Client.Secrets = a.Client.Secrets[:kept]
		return a, nil
	})
	if err != nil {
		return domain.Application{}, 0, result("end a client secret", err)
	}
	return a, ended, nil
}

// tidy returns a with nil for empty lists, as a store may return them, so that the same document is no change.
func tidy(a domain.Application) domain.Application {
	none := func(s []string) []string {
		if len(s) == 0 {
			return nil
		}
		return s
	}
	a.Client.Audiences, a.Client.Origins = none(a.Client.Audiences), none(a.Client.Origins)
	if len(a.Client.Secrets) == 0 {
		a.Client.Secrets = nil
	}
	return a
}

// sameApplication reports whether a and b are stored as the same.
func sameApplication(a, b domain.Application) bool {
	equal := a.Client.Equal(b.Client)
	a.Client, b.Client = domain.Client{}, domain.Client{}
	return equal && reflect.DeepEqual(a, b)
}

// checkClientKeys returns an *Invalid if the application's client keys, as changed from before, are not a JWK Set of
// public keys. parse, if it is not nil, verifies the keys themselves.
func checkClientKeys(before, keys string, parse func(keys string) error) error {
	if keys == "" || keys == before {
		return nil
	}
	refuse := func(message string) error {
		return domain.NewInvalid(domain.FieldClientKeys, domain.Malformed, message)
	}
	var set struct{ Keys []map[string]any }
	if err := json.Unmarshal([]byte(keys), &set); err != nil || len(set.Keys) == 0 {
		return refuse(`use a JWK Set: an object whose member keys is a list of at least one public key`)
	}
	for i, k := range set.Keys {
		if kty, _ := k["kty"].(string); kty != "RSA" && kty != "EC" && kty != "OKP" {
			return refuse(fmt.Sprintf("key %d of the set has no kty of a public key: use RSA, EC or OKP", i+1))
		}
		for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"} {
			if _, has := k[private]; has {
				return refuse(fmt.Sprintf("key %d of the set is a private key: replace it, because it was sent here, and "+
					"send the public part of the new one", i+1))
			}
		}
	}
	if parse == nil {
		return nil
	}
	return parse(keys)
}

// ClientSecrets are the client secrets of an application in a kickstart file.
type ClientSecrets struct {
	// Texts are the secrets, the newest first. A zero one stands for a stored secret that the others do not name.
	Texts []domain.Secret
	// Force ends stored secrets although two of them are valid.
	Force bool
}

func (s ClientSecrets) validate(p *domain.Problems, at string) {
	if len(s.Texts) > domain.MaxClientSecrets {
		p.Add(at+domain.FieldClientSecrets, domain.TooMany, "an application has at most two client secrets: remove one")
		return
	}
	seen := make(map[string]bool)
	for i, text := range s.Texts {
		field := fmt.Sprintf("%s%s[%d].secret", at, domain.FieldClientSecrets, i)
		if !text.IsZero() && !domain.IsClientSecret(text.Reveal()) {
			p.Add(field, domain.Malformed, "a client secret is 24 to 256 printable ASCII characters")
		}
		checkUnique(p, field, seen, text.Reveal())
	}
}

// secretsOf returns the client secrets that an application of a file gets. A secret that is stored, under any hash key,
// is unchanged. If all secrets of the file are stored, nothing changes: a file from before the secret was replaced is
// fulfilled while the previous one is valid.
func (a *Apply) secretsOf(
	ctx context.Context, app, stored domain.Application, file *ClientSecrets,
) ([]domain.ClientSecret, error) {
	has := stored.Client.Secrets
	if file == nil {
		return copiedSecrets(app.Client.Secrets, has), nil
	}
	wanted, used := make([]domain.ClientSecret, len(file.Texts)), make([]bool, len(has))
	for i, text := range file.Texts {
		if text.IsZero() {
			continue
		}
		hashes, err := a.Keys.HashesOfClientSecret(ctx, app.TenantID, app.ID, text)
		if err != nil {
			return nil, err
		}
		if j := stored.Client.SecretWith(hashes...); j >= 0 {
			wanted[i], used[j] = has[j], true
			continue
		}
		hash, number := a.Keys.HashClientSecret(app.TenantID, app.ID, text)
		wanted[i] = domain.ClientSecret{Hash: hash, HashKey: number, CreatedAt: a.Clock.Now()}
	}
	for i, text := range file.Texts {
		if !text.IsZero() {
			continue
		}
		j := slices.Index(used, false)
		if j < 0 {
			return nil, domain.NewInvalid(fmt.Sprintf("%s[%d].secret", domain.FieldClientSecrets, i), domain.Blank,
				"set the secret: no other one is stored that could stay")
		}
		wanted[i], used[j] = has[j], true
	}
	isNew := func(s domain.ClientSecret) bool { return !slices.Contains(has, s) }
	if len(wanted) > 0 && !slices.ContainsFunc(wanted, isNew) {
		return has, nil
	}
	if len(has) == domain.MaxClientSecrets && !file.Force {
		return nil, domain.NewInvalid(domain.FieldClientSecrets, domain.Conflict, "two client secrets are stored and "+
			"valid, and one would end: end the previous one first (`refreshd application end-previous`), or apply the file "+
			"with --force")
	}
	slices.SortStableFunc(wanted, func(a, b domain.ClientSecret) int { return b.CreatedAt.Compare(a.CreatedAt) })
	return wanted, nil
}

// copiedSecrets returns the secrets of a file that has their hashes; without any the stored ones stay. A stored hash of
// a newer hash key stays, as [newerHash] says of an API key: the instant tells that both are of one secret.
func copiedSecrets(file, stored []domain.ClientSecret) []domain.ClientSecret {
	if len(file) == 0 {
		return stored
	}
	file = slices.Clone(file)
	for i, s := range file {
		for _, has := range stored {
			if has.CreatedAt.Equal(s.CreatedAt) && (has.Hash == s.Hash || has.HashKey > s.HashKey) {
				file[i] = has
			}
		}
	}
	return file
}

// clientChanges returns the changes of an application as an OAuth client.
func clientChanges(before, after domain.Client) (changes []Change) {
	was, is := before.Fields(), after.Fields()
	for i := range was {
		changes = append(changes, change(was[i].Field, was[i].Value, is[i].Value, notSet)...)
	}
	if !slices.EqualFunc(before.Secrets, after.Secrets, sameSecret) {
		changes = append(changes, Change{Field: domain.FieldClientSecrets})
	}
	return changes
}

func sameSecret(a, b domain.ClientSecret) bool {
	return a.Hash == b.Hash && a.HashKey == b.HashKey && a.CreatedAt.Equal(b.CreatedAt)
}
