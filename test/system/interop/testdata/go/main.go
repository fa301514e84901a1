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

func run(ctx context.Context) error {
	backend := refreshd.WithRequestEditorFn(func(_ context.Context, r *http.Request) error {
		r.Header.Set("Authorization", "Bearer "+os.Getenv("API_KEY"))
		r.Header.Set("X-Stencil-TenantId", os.Getenv("TENANT"))
		return nil
	})
	api, err := refreshd.NewClientWithResponses(os.Getenv("BASE_URL"), backend)
	if err != nil {
		return err
	}
	device, err := refreshd.NewClientWithResponses(os.Getenv("BASE_URL")) // has no API key
	if err != nil {
		return err
	}
	const user = "ada-go"

	issued, err := api.IssueWithResponse(ctx, refreshd.IssueRequest{
		UserId: user, ApplicationsId: os.Getenv("APPLICATION"), Roles: &refreshd.Roles{"customer"},
		MetaData: &refreshd.MetaDataInput{Device: &refreshd.Device{Name: new("Phone of Ada")}},
	})
	if err != nil {
		return err
	}
	if issued.JSON200 == nil {
		return fmt.Errorf("issue: %s %s", issued.Status(), issued.Body)
	}
	session := issued.JSON200.Data
	fmt.Printf("issued %s, for %d s\n", session.RefreshTokenId, session.RefreshTokenExpiresIn)

	exchanged, err := device.ExchangeWithResponse(ctx, nil, refreshd.ExchangeRequest{RefreshToken: &session.RefreshToken})
	if err != nil {
		return err
	}
	if exchanged.JSON200 == nil || exchanged.JSON200.Data.RefreshToken == nil {
		return fmt.Errorf("exchange: %s %s", exchanged.Status(), exchanged.Body)
	}
	next := exchanged.JSON200.Data
	if next.RefreshTokenId != session.RefreshTokenId || *next.RefreshToken == session.RefreshToken || next.Token == "" {
		return fmt.Errorf("exchange: %+v, want the next token string of %s", next, session.RefreshTokenId)
	}
	fmt.Printf("exchanged, %s, the access token is for %d s\n",
		exchanged.Headers200.RefreshdOutcome, next.ExpiresIn)

	list, err := api.ListWithResponse(ctx, &refreshd.ListParams{UserId: new(user), Limit: new(10)})
	if err != nil {
		return err
	}
	if list.JSON200 == nil || len(list.JSON200.Data) != 1 || list.JSON200.Data[0].Id != session.RefreshTokenId {
		return fmt.Errorf("list: %s %s, want one session", list.Status(), list.Body)
	}
	one := list.JSON200.Data[0]
	if one.Generation != 2 || !slices.Equal(one.Roles, refreshd.Roles{"customer"}) {
		return fmt.Errorf("list: %+v, want generation 2 and the role customer", one)
	}
	fmt.Printf("listed 1 session of %s, generation %d\n", one.UserId, one.Generation)

	changed, err := api.ChangeOneWithResponse(ctx, session.RefreshTokenId.String(), refreshd.Patch{
		Roles: &[]string{"customer", "editor"},
	})
	if err != nil {
		return err
	}
	if changed.JSON200 == nil || !slices.Equal(changed.JSON200.Data.Roles, refreshd.Roles{"customer", "editor"}) {
		return fmt.Errorf("change: %s %s", changed.Status(), changed.Body)
	}
	ofUser, err := api.ChangeWithResponse(ctx, &refreshd.ChangeParams{UserId: user}, refreshd.Patch{
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

	refused, err := api.IssueWithResponse(ctx, refreshd.IssueRequest{UserId: "", ApplicationsId: os.Getenv("APPLICATION")})
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

	revoked, err := api.RevokeWithResponse(ctx, nil, refreshd.RevokeRequest{TokenString: next.RefreshToken})
	if err != nil {
		return err
	}
	if revoked.JSON200 == nil || revoked.JSON200.Data.TokenId == nil ||
		*revoked.JSON200.Data.TokenId != session.RefreshTokenId {
		return fmt.Errorf("revoke: %s %s", revoked.Status(), revoked.Body)
	}
	gone, err := api.RetrieveWithResponse(ctx, session.RefreshTokenId.String(), nil)
	if err != nil {
		return err
	}
	if gone.StatusCode() != http.StatusNotFound {
		return fmt.Errorf("retrieve after the revocation: %s, want 404", gone.Status())
	}
	all, err := api.RevokeWithResponse(ctx, nil, refreshd.RevokeRequest{UserId: new(user)})
	if err != nil {
		return err
	}
	if all.JSON200 == nil || all.JSON200.Data.RevokedBefore == nil {
		return fmt.Errorf("revoke the user's: %s %s", all.Status(), all.Body)
	}
	fmt.Printf("revoked it, and all of %s\n", user)

	keys, err := device.JwksWithResponse(ctx, os.Getenv("TENANT"), nil)
	if err != nil {
		return err
	}
	if keys.JSON200 == nil || len(keys.JSON200.Keys) == 0 || keys.JSON200.Keys[0].Kid == "" {
		return fmt.Errorf("key set: %s %s", keys.Status(), keys.Body)
	}
	fmt.Printf("read %d public key\n", len(keys.JSON200.Keys))
	return nil
}
