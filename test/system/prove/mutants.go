package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/refreshd/refreshd/test/support/rig"
)

// change replaces a text that occurs exactly once in a file of this module.
type change struct{ file, from, to string }

// mutant is a way to break the service.
type mutant struct {
	name    string
	says    string
	changes []change
	// setting is where it shows soonest.
	setting setting
	// breaks is the property that a mutant of the revocation stream breaks, and part the name of the round with resource
	// servers that finds it; empty for the others.
	breaks property
	part   string
	// scene is the name of the scene of keys that finds it; empty for the others.
	scene string
}

// build returns how the program is built, unchanged or as a mutant. It has a clock; nothing else differs from the
// program that is shipped.
func (m mutant) build() rig.BuildOptions {
	o := rig.BuildOptions{Name: m.name, Clock: true}
	for _, c := range m.changes {
		o.Changes = append(o.Changes, rig.Change{File: c.file, From: c.from, To: c.to})
	}
	return o
}

// findMutants runs every mutant until it is found.
func findMutants(ctx context.Context, o options, dir string, w io.Writer) error {
	chosen := mutants
	if o.mutants != "all" {
		names := strings.Split(o.mutants, ",")
		chosen = slices.DeleteFunc(slices.Clone(mutants), func(m mutant) bool { return !slices.Contains(names, m.name) })
		if len(chosen) != len(names) {
			return fmt.Errorf("not all of these are names of mutants: %q", o.mutants)
		}
	}
	fmt.Fprintf(w, "\n| mutant | found by | after |\n|---|---|---|\n")
	var missed []string
	for i, m := range chosen {
		if m.scene != "" {
			found, err := findInScene(ctx, o, m, o.seed+uint64(i), dir, w)
			if err != nil {
				return fmt.Errorf("%s: %w", m.name, err)
			}
			if !found {
				missed = append(missed, m.name)
			}
			continue
		}
		if m.part != "" {
			found, err := findInPart(ctx, o, m, o.seed+uint64(i), dir, w)
			if err != nil {
				return fmt.Errorf("%s: %w", m.name, err)
			}
			if !found {
				missed = append(missed, m.name)
			}
			continue
		}
		program, err := rig.Build(ctx, dir, m.build())
		if err != nil {
			return err
		}
		ro := roundOptions{options: o, program: program, setting: m.setting, seed: o.seed + uint64(i),
			duration: 2 * time.Minute, progress: io.Discard}
		ro.keep = filepath.Join(o.keep, "mutants", m.name)
		r, err := round(ctx, ro)
		by := "nothing: NOT FOUND"
		switch {
		case err != nil && !r.failed():
			return fmt.Errorf("%s: %w", m.name, err)
		case len(r.wrong) > r.undecided:
			by = "a history: " + r.wrong[0]
		case len(r.faults) > 0:
			by = fmt.Sprintf("a response: %.120s", r.faults[0])
		default:
			missed = append(missed, m.name)
		}
		fmt.Fprintf(w, "| %s: %s | %s | %.0f s, %d calls |\n", m.name, m.says, by, r.took.Seconds(), r.calls)
	}
	fmt.Fprintf(w, "%d of %d mutants found\n", len(chosen)-len(missed), len(chosen))
	if len(missed) > 0 {
		return fmt.Errorf("not found: %s", strings.Join(missed, ", "))
	}
	return nil
}

const (
	storeExchange = "adapter/gormstore/exchange.go"
	storeRevoke   = "adapter/gormstore/revoke.go"
	rule          = "domain/exchange.go"
	record        = "domain/refreshtoken.go"
	useCase       = "usecase/exchange.go"
	useClient     = "usecase/client.go"
)

var (
	several  = setting{Engine: "postgres", Services: 3, Jumps: true, OneByOne: true}
	sharing  = setting{Engine: "postgres", Services: 1, Jumps: true}
	limiting = setting{Engine: "postgres", Services: 2, Limits: true}
	purging  = setting{Engine: "sqlite", Services: 1, Jumps: true, Purges: true}
)

// onePlace lets exchanges share writes as often as they can.
var onePlace = change{"adapter/gormstore/open.go", "newGroupCommit(e.writes,", "newGroupCommit(writeRule{most: 1},"}

// repeatedRecovery is the rule of package domain for a recovery that is repeated: it changes nothing.
const repeatedRecovery = "	if !t.RecoveredAt.IsZero() {\n		return t\n"

// swapEachRecovery stores all that a repeated recovery decides. Otherwise Use stores it, which moves only the instants
// of the last use and the expiry.
var swapEachRecovery = change{rule, "		if t.RecoveredAt.IsZero() {\n			d.Event = ", "		if d.Write {\n			d.Event = "}

// mutants are all of them.
var mutants = slices.Concat(tokenMutants, reachMutants, keyMutants)

var tokenMutants = []mutant{
	{
		name: "read-then-write", says: "the generation is compared before the write, which compares nothing",
		setting: several,
		changes: []change{
			{storeExchange, "AND refresh_tokens.generation = ` + c.generation + `\n", "AND ` + c.generation + ` > 0\n"},
			{storeExchange, "	e, run := &exchange{id: id, call: c}, s.advanceAlone\n", `	var generation int64
	if err := s.reading(ctx, "peek", func(db *gorm.DB) error {
		row := raw(db, "SELECT generation FROM refresh_tokens WHERE id = $1", id[:])
		return queryRow(row, domain.ErrConflict, &generation)
	}); err != nil {
		return domain.RefreshToken{}, domain.Policy{}, err
	}
	if generation != int64(c.Generation) {
		return domain.RefreshToken{}, domain.Policy{}, domain.ErrConflict
	}
	e, run := &exchange{id: id, call: c}, s.advanceAlone
`},
		},
	},
	{
		name: "revocation-late", says: "a revocation commits a moment after its response", setting: several,
		changes: []change{{"usecase/revoke.go",
			"_, err = r.Revocations.RevokeScope(ctx, selector.Scope, selector.Except, how, event)", `go func() {
			time.Sleep(150 * time.Millisecond)
			_, _ = r.Revocations.RevokeScope(context.WithoutCancel(ctx), selector.Scope, selector.Except, how, event)
		}()`}},
	},
	{
		name: "mark-by-clock", says: "a mark ends what was issued before it by the clock, not by the epoch", setting: several,
		changes: []change{
			{storeExchange, "AND m.epoch > refresh_tokens.issued_epoch`", "AND m.revoked_at > refresh_tokens.issued_at`"},
			{storeExchange, `ofItsMarks.marks("m.epoch", "")`,
				`ofItsMarks.marks("CASE WHEN m.revoked_at > refresh_tokens.issued_at "+` +
					`"THEN refresh_tokens.issued_epoch + 1 ELSE 0 END AS epoch", "")`},
		},
	},
	{
		name: "sibling", says: "a retry with the string before the current one rotates once more", setting: several,
		changes: []change{{useCase, "		case decision.Write:\n", `
		case decision.Outcome == domain.Retried && call.Generation < snapshot.Token.Generation:
			decision.Outcome, decision.AnsweredAt = domain.Rotated, call.Now
			decision.After = snapshot.Token.Rotated(snapshot.Policy, call.Now, "")
			decision.Event = domain.TokenRestored
			err = x.write(ctx, snapshot.Token, decision, call, in.RequestID)
		case decision.Write:
`}},
	},
	{
		name: "retry-moves", says: "a retry moves the last response, and the grace period with it", setting: several,
		changes: []change{{rule, "		return Decision{Outcome: Retried, After: t, AnsweredAt: t.lastAnswer(),", `
		after := t
		if after.RotatedAt = c.Now; !t.RecoveredAt.IsZero() {
			after.RotatedAt, after.RecoveredAt = t.RotatedAt, c.Now
		}
		return Decision{Outcome: Retried, After: after, Write: true, Event: TokenRecovered, AnsweredAt: t.lastAnswer(),`}},
	},
	{
		name: "retry-from-now", says: "the access token of a retry counts from the retry", setting: several,
		changes: []change{{rule, "Retried, After: t, AnsweredAt: t.lastAnswer(),", "Retried, After: t, AnsweredAt: c.Now,"}},
	},
	{
		name: "halves", says: "the access token of a retry is the old one, although it has nearly expired", setting: several,
		changes: []change{
			{"domain/accesstoken.go", "from = from.Add(passed / half * half)", "from = from.Add(passed / lifetime * half)"},
		},
	},
	{
		name: "hold-forgotten", says: "the current string rotates whenever it is presented", setting: several,
		changes: []change{
			{storeExchange, "(refresh_tokens.generation = 1 OR abs(`", "(refresh_tokens.generation > 0 OR abs(`"},
		},
	},
	{
		name: "first-held", says: "the issue begins a grace period", setting: several,
		changes: []change{
			{record, "return t.Generation > 1 && now.Sub(", "return now.Sub("},
			{storeExchange, "(refresh_tokens.generation = 1 OR abs(`", "(refresh_tokens.generation = 0 OR abs(`"},
		},
	},
	{
		name: "one-sided-clock", says: "a response from the future stands: negative ages count as zero", setting: several,
		changes: []change{
			{record, "now.Sub(t.lastAnswer()).Abs() < p.GracePeriod", "max(0, now.Sub(t.lastAnswer())) < p.GracePeriod"},
			{storeExchange, "(refresh_tokens.generation = 1 OR abs(`", "(refresh_tokens.generation = 1 OR (`"},
		},
	},
	{
		name: "pinned", says: "a repeated recovery moves the last response, and holds the next rotation back",
		setting: several,
		changes: []change{swapEachRecovery, {rule, repeatedRecovery, `	if !t.RecoveredAt.IsZero() {
		t.RecoveredAt = now
		return t
`}},
	},
	{
		name: "recovery-twice", says: "a recovery is charged at each repeat", setting: several,
		changes: []change{swapEachRecovery, {rule, repeatedRecovery, `	if !t.RecoveredAt.IsZero() {
		t.RecoveryPaidUntil = max(t.RecoveryPaidUntil, int64(t.Generation)) + p.RecoveryInterval
		return t
`}},
	},
	{
		name: "recovery-free", says: "a recovery is never charged", setting: several,
		changes: []change{{rule,
			"		t.RecoveryPaidUntil = max(t.RecoveryPaidUntil, int64(t.Generation)) + p.RecoveryInterval\n", ""}},
	},
	{
		name: "expiry-off-by-one", says: "a refresh token is still active at the instant of its expiry", setting: several,
		changes: []change{
			{rule, "!now.Before(s.Token.ExpiresAt)", "now.After(s.Token.ExpiresAt)"},
			{storeExchange, "AND refresh_tokens.expires_at > ` + now", "AND refresh_tokens.expires_at >= ` + now"},
		},
	},
	{
		name: "answer-before-commit", says: "the response to a shared write is sent before the commit", setting: sharing,
		changes: []change{
			onePlace,
			{storeExchange, `	err := s.writing(ctx, "advance a batch", func(db *gorm.DB) error {
		clear(rows) // a previous attempt was rolled back
		return queryRows(`, `	early := make(chan error, maxAttempts)
	go s.transacting(context.WithoutCancel(ctx), "advance a batch", func(db *gorm.DB) error {
		clear(rows)
		err := queryRows(`},
			{storeExchange, `				rows[place-1], policies[place-1] = &row, policy
				return nil
			})
	})
`, `				rows[place-1], policies[place-1] = &row, policy
				return nil
			})
		early <- err
		time.Sleep(100 * time.Millisecond)
		return err
	})
	err := <-early
`},
		},
	},
	{
		name: "mix-up", says: "two requests that share a write get each other's responses", setting: sharing,
		changes: []change{
			onePlace,
			{storeExchange, "if rows[i] == nil {", "if rows[i] == nil || rows[(i+1)%n] == nil {"},
			{storeExchange, "s.readExchange(e, rows[i], policies[i])", "s.readExchange(e, rows[(i+1)%n], policies[(i+1)%n])"},
		},
	},
	{
		name: "proof-after-write", says: "the API key that the application requires is checked after the write",
		setting: several,
		changes: []change{
			{storeExchange, "AND a.require_authentication <= ` + c.authenticated + `\n", "AND ` + c.authenticated + ` >= 0\n"},
			{useCase, "	return x.answer(ctx, domain.Decision{Outcome: domain.Rotated,",
				`	if policy.RequireAuthentication && !call.Authenticated {
		return Exchanged{Outcome: domain.RefusedInvalid, Why: domain.ErrAuthenticationRequired}, nil
	}
	return x.answer(ctx, domain.Decision{Outcome: domain.Rotated,`},
		},
	},
	{
		name: "life-from-issue", says: "a sliding lifetime does not slide", setting: several,
		changes: []change{{storeExchange, " THEN ` + wholeSeconds(moved) + `\n", " THEN refresh_tokens.expires_at\n"}},
	},
	{
		name: "revoked-in-memory", says: "a replica remembers for a second that a refresh token was active", setting: several,
		changes: []change{
			{useCase, "		decision := snapshot.Decide(call)\n", `
		if last, ok := remembered.Load(presented.ID); ok && call.Now.Sub(last.(time.Time)) < 5*time.Second {
			snapshot.Token.RevokedAt, snapshot.MarkEpoch = time.Time{}, 0
		}
		decision := snapshot.Decide(call)
`},
			{useCase, "	return x.answer(ctx, domain.Decision{Outcome: domain.Rotated,", `
	remembered.Store(presented.ID, call.Now)
	return x.answer(ctx, domain.Decision{Outcome: domain.Rotated,`},
			{useCase, "// exchangeAttempts is the number", "var remembered sync.Map\n\n// exchangeAttempts is the number"},
			{useCase, "	\"fmt\"\n", "	\"fmt\"\n	\"sync\"\n"},
		},
	},
	{
		name: "replay-forgiven", says: "a replay is refused, and the refresh token stays active", setting: several,
		changes: []change{{rule, "	case p.RevokeOnReplay:\n", "	case p.RevokeOnReplay && p.TTL < 0:\n"}},
	},
	{
		name: "no-maximum", says: "a sliding lifetime has no maximum", setting: several,
		changes: []change{
			{storeExchange, "`refresh_tokens.issued_at + `+a+`.slide_", "`refresh_tokens.issued_at + 100 * `+a+`.slide_"},
		},
	},
	{
		name: "grace-off-by-one", says: "a retry succeeds exactly at the end of its grace period", setting: several,
		changes: []change{
			{record, ".Abs() < p.GracePeriod", ".Abs() <= p.GracePeriod"},
			{storeExchange, "rotated_at)) >= a.grace_period)", "rotated_at)) > a.grace_period)"},
		},
	},
	{
		name: "revocation-too-wide", says: "revoking a user in one application revokes the other users in it too",
		setting: several,
		changes: []change{{storeRevoke,
			"args := append([]any{scope.TenantID, scope.ApplicationID, scope.UserID,",
			`args := append([]any{scope.TenantID, scope.ApplicationID,
				map[bool]string{false: scope.UserID}[scope.ApplicationID != ""],`}},
	},
	{
		name: "revocation-again", says: "a revocation happens again a moment after its response", setting: several,
		changes: []change{{"usecase/revoke.go",
			"	return Revoked{Selector: selector, At: at, Cookies: cookies}, nil\n", `	if !selector.IsToken() {
		go func() {
			time.Sleep(200 * time.Millisecond)
			event.ID[15]++
			_, _ = r.Revocations.RevokeScope(context.WithoutCancel(ctx), selector.Scope, selector.Except, how, event)
		}()
	}
	return Revoked{Selector: selector, At: at, Cookies: cookies}, nil
`}},
	},
	{
		name: "binding-ignored", says: "a rotation ignores the key that the refresh token is bound to", setting: several,
		changes: []change{{storeExchange, "length(refresh_tokens.binding) = 0)", "length(refresh_tokens.binding) >= 0)"}},
	},
	{
		name: "any-key", says: "a proof of any key is enough for a bound refresh token", setting: several,
		changes: []change{
			{storeExchange, "length(refresh_tokens.binding) = 0)",
				"length(refresh_tokens.binding) = 0 OR length(` + c.binding + `) = 43)"},
			{rule, "t.Binding != \"\" && t.Binding != c.Binding:", "t.Binding != \"\" && c.Binding == \"\":"},
		},
	},
	{
		name: "replay-before-proof", says: "a replay revokes, although the call lacks the proof of the key",
		setting: several,
		changes: []change{{rule, "t.Binding != \"\" && t.Binding != c.Binding:",
			"t.Binding != \"\" && t.Binding != c.Binding && c.Generation+1 >= t.Generation:"}},
	},
	{
		name: "client-unauthenticated", says: "a client with a secret need not authenticate", setting: several,
		changes: []change{{"domain/policy.go", " || a.Client.Confidential()", ""}},
	},
	{
		name: "any-secret", says: "a wrong secret authenticates a client", setting: several,
		changes: []change{{useClient, "	if at < 0 {\n", "	if at = max(at, 0); len(app.Client.Secrets) == 0 {\n"}},
	},
	{
		name: "tenant-ignored", says: "a rotation ignores the tenant that the request names", setting: several,
		changes: []change{{storeExchange, "= '' OR refresh_tokens.tenant_id = ` + c.tenantID + `)",
			"= '' OR refresh_tokens.tenant_id <> ` + c.tenantID + ` || 'x')"}},
	},
	{
		name: "client-ignored", says: "a rotation ignores the client that the request names", setting: sharing,
		changes: []change{
			onePlace, {storeExchange, "		applicationID[i] = c.ApplicationID\n", ""},
		},
	},
	{
		name: "inactive-exchanges", says: "an application that is switched off exchanges", setting: several,
		changes: []change{{storeExchange, "AND a.active = 1 AND a.usage_policy", "AND a.usage_policy"}},
	},
	{
		name: "policy-remembered", says: "a replica decides by the policy of some seconds ago", setting: several,
		changes: []change{
			{useCase, "		decision := snapshot.Decide(call)\n", `
		type remembered struct {
			at     time.Time
			policy domain.Policy
		}
		of := snapshot.Token.TenantID + snapshot.Token.ApplicationID
		now := remembered{call.Now, snapshot.Policy}
		if last, ok := policies.Load(of); ok && call.Now.Sub(last.(remembered).at) < 15*time.Second {
			snapshot.Policy = last.(remembered).policy
		} else {
			policies.Store(of, now)
		}
		decision := snapshot.Decide(call)
`},
			{useCase, "// exchangeAttempts is the number", "var policies sync.Map\n\n// exchangeAttempts is the number"},
			{useCase, "	\"fmt\"\n", "	\"fmt\"\n	\"sync\"\n"},
		},
	},
	{
		name: "limit-writes", says: "an exchange above the limit of its rate is written, and then refused",
		setting: limiting,
		changes: []change{
			{useCase, `	if in.Limit != nil {
		if err := in.Limit(presented, in.Authenticated); err != nil {
			return Exchanged{}, err
		}
`, `	var late error
	if in.Limit != nil {
		late = in.Limit(presented, in.Authenticated)
`},
			{useCase, "	return x.answer(ctx, domain.Decision{Outcome: domain.Rotated,", `	if late != nil {
		return Exchanged{}, late
	}
	return x.answer(ctx, domain.Decision{Outcome: domain.Rotated,`},
		},
	},
	{
		name: "purge-too-much", says: "a pass deletes what has not ended", setting: purging,
		changes: []change{{"usecase/purge.go", "Before: now.Add(-p.After),", "Before: now.Add(30 * time.Second),"}},
	},
	{
		name: "limit-too-low", says: "the limit keeps one less than it allows", setting: several,
		changes: []change{{storeRevoke, "string(r.Reason), keep,\n", "string(r.Reason), keep - 1,\n"}},
	},
	{
		name: "limit-by-id", says: "the limit keeps the highest ids, not the latest logins", setting: several,
		changes: []change{
			{storeRevoke, `byOrdinal("DESC"), math.MaxInt64`, `"refresh_tokens.id DESC", math.MaxInt64`},
		},
	},
	{
		name: "limit-exceeded", says: "the limit keeps one more than it allows", setting: several,
		changes: []change{{storeRevoke, "string(r.Reason), keep,\n", "string(r.Reason), keep + 1,\n"}},
	},
}
