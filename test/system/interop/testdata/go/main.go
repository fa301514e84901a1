// Command interop uses the client that oapi-codegen made from the document of a running service: it issues, exchanges,
// lists, retrieves and revokes, and ends with status 1 where something is not as the document says. The service's
// address, tenant, application and API key are in the environment.
package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"slices"

	"interop/refreshd"
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "oapi-codegen:", err)
		os.Exit(1)
	}
}

// The user whose session it is.
const user = "ada-go"

// client is what the steps share.
type client struct {
	api, device *refreshd.ClientWithResponses
	session     *refreshd.IssueResult
	current     *string // the token string after the exchange
}

func run(ctx context.Context) error {
	backend := refreshd.WithRequestEditorFn(func(_ context.Context, r *http.Request) error {
		r.Header.Set("Authorization", "Bearer "+os.Getenv("API_KEY"))
		r.Header.Set("X-Stencil-TenantId", os.Getenv("TENANT"))
		return nil
	})
	var c client
	var err error
	if c.api, err = refreshd.NewClientWithResponses(os.Getenv("BASE_URL"), backend); err != nil {
		return err
	}
	if c.device, err = refreshd.NewClientWithResponses(os.Getenv("BASE_URL")); err != nil { // has no API key
		return err
	}
	for _, step := range []func(context.Context) error{
		c.issue, c.exchange, c.list, c.change, c.issueWithoutUser, c.revoke, c.keys,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (c *client) issue(ctx context.Context) error {
	issued, err := c.api.IssueWithResponse(ctx, refreshd.IssueRequest{
		UserId: user, ApplicationsId: os.Getenv("APPLICATION"), Roles: &refreshd.Roles{"customer"},
		MetaData: &refreshd.MetaDataInput{Device: &refreshd.Device{Name: new("Phone of Ada")}},
	})
	if err != nil {
		return err
	}
	if issued.JSON200 == nil {
		return fmt.Errorf("issue: %s %s", issued.Status(), issued.Body)
	}
	c.session = issued.JSON200
	fmt.Printf("issued %s, for %d s\n", c.session.Data.RefreshTokenId, c.session.Data.RefreshTokenExpiresIn)
	return nil
}

func (c *client) exchange(ctx context.Context) error {
	issued := c.session.Data
	exchanged, err := c.device.ExchangeWithResponse(ctx, nil, refreshd.ExchangeRequest{RefreshToken: &issued.RefreshToken})
	if err != nil {
		return err
	}
	if exchanged.JSON200 == nil || exchanged.JSON200.Data.RefreshToken == nil {
		return fmt.Errorf("exchange: %s %s", exchanged.Status(), exchanged.Body)
	}
	next := exchanged.JSON200.Data
	if next.RefreshTokenId != issued.RefreshTokenId || *next.RefreshToken == issued.RefreshToken || next.Token == "" {
		return fmt.Errorf("exchange: %+v, want the next token string of %s", next, issued.RefreshTokenId)
	}
	fmt.Printf("exchanged, %s, the access token is for %d s\n",
		exchanged.Headers200.RefreshdOutcome, next.ExpiresIn)
	c.current = next.RefreshToken
	return nil
}

func (c *client) list(ctx context.Context) error {
	list, err := c.api.ListWithResponse(ctx, &refreshd.ListParams{UserId: new(user), Limit: new(10)})
	if err != nil {
		return err
	}
	if list.JSON200 == nil || len(list.JSON200.Data) != 1 || list.JSON200.Data[0].Id != c.session.Data.RefreshTokenId {
		return fmt.Errorf("list: %s %s, want one session", list.Status(), list.Body)
	}
	one := list.JSON200.Data[0]
	if one.Generation != 2 || !slices.Equal(one.Roles, refreshd.Roles{"customer"}) {
		return fmt.Errorf("list: %+v, want generation 2 and the role customer", one)
	}
	fmt.Printf("listed 1 session of %s, generation %d\n", one.UserId, one.Generation)
	return nil
}

func (c *client) change(ctx context.Context) error {
	changed, err := c.api.ChangeOneWithResponse(ctx, c.session.Data.RefreshTokenId.String(), refreshd.Patch{
		Roles: &[]string{"customer", "editor"},
	})
	if err != nil {
		return err
	}
	if changed.JSON200 == nil || !slices.Equal(changed.JSON200.Data.Roles, refreshd.Roles{"customer", "editor"}) {
		return fmt.Errorf("change: %s %s", changed.Status(), changed.Body)
	}
	ofUser, err := c.api.ChangeWithResponse(ctx, &refreshd.ChangeParams{UserId: user}, refreshd.Patch{
		Claims: &map[string]any{"plan": "gold", "trial": nil},
	})
	if err != nil {
		return err
	}
	if ofUser.JSON200 == nil || ofUser.JSON200.Data.Changed != 1 {
		return fmt.Errorf("change the user's: %s %s", ofUser.Status(), ofUser.Body)
	}
	fmt.Printf("changed its roles to %v, and a claim of %d session\n",
		changed.JSON200.Data.Roles, ofUser.JSON200.Data.Changed)
	return nil
}

func (c *client) issueWithoutUser(ctx context.Context) error {
	refused, err := c.api.IssueWithResponse(ctx,
		refreshd.IssueRequest{UserId: "", ApplicationsId: os.Getenv("APPLICATION")})
	if err != nil {
		return err
	}
	if refused.JSON400 == nil || refused.JSON400.Errors.FieldErrors == nil {
		return fmt.Errorf("issue without a user: %s %s, want the errors of a 400", refused.Status(), refused.Body)
	}
	problems := (*refused.JSON400.Errors.FieldErrors)["userId"]
	if len(problems) != 1 || problems[0].Code != "[blank]userId" {
		return fmt.Errorf("issue without a user: %+v, want [blank]userId", problems)
	}
	fmt.Printf("refused an issue without a user: %s\n", problems[0].Code)
	return nil
}

func (c *client) revoke(ctx context.Context) error {
	revoked, err := c.api.RevokeWithResponse(ctx, nil, refreshd.RevokeRequest{TokenString: c.current})
	if err != nil {
		return err
	}
	if revoked.JSON200 == nil || revoked.JSON200.Data.TokenId == nil ||
		*revoked.JSON200.Data.TokenId != c.session.Data.RefreshTokenId {
		return fmt.Errorf("revoke: %s %s", revoked.Status(), revoked.Body)
	}
	gone, err := c.api.RetrieveWithResponse(ctx, c.session.Data.RefreshTokenId.String(), nil)
	if err != nil {
		return err
	}
	if gone.StatusCode() != http.StatusNotFound {
		return fmt.Errorf("retrieve after the revocation: %s, want 404", gone.Status())
	}
	all, err := c.api.RevokeWithResponse(ctx, nil, refreshd.RevokeRequest{UserId: new(user)})
	if err != nil {
		return err
	}
	if all.JSON200 == nil || all.JSON200.Data.RevokedBefore == nil {
		return fmt.Errorf("revoke the user's: %s %s", all.Status(), all.Body)
	}
	fmt.Printf("revoked it, and all of %s\n", user)
	return nil
}

func (c *client) keys(ctx context.Context) error {
	keys, err := c.device.JwksWithResponse(ctx, os.Getenv("TENANT"), nil)
	if err != nil {
		return err
	}
	if keys.JSON200 == nil || len(keys.JSON200.Keys) == 0 || keys.JSON200.Keys[0].Kid == "" {
		return fmt.Errorf("key set: %s %s", keys.Status(), keys.Body)
	}
	fmt.Printf("read %d public key\n", len(keys.JSON200.Keys))
	return nil
}
