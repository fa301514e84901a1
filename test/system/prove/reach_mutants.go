package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/refreshd/refreshd/test/support/rig"
)

const (
	storeReach   = "adapter/gormstore/reach.go"
	feedWorkers  = "usecase/feedworkers.go"
	feedViews    = "usecase/feed.go"
	verifyFacts  = "adapter/verify/facts.go"
	verifyStream = "adapter/verify/stream.go"
	verifyState  = "adapter/verify/statefile.go"
	verifyToken  = "adapter/verify/verify.go"
)

// longestSearch is how long a part runs with a mutant.
const longestSearch = 90 * time.Second

// findInPart runs a mutant of the revocation stream in its part until a check is wrong, and reports whether that broke
// its property.
func findInPart(
	ctx context.Context, o options, m mutant, seed uint64, dir string, w io.Writer,
) (found bool, err error) {
	i := slices.IndexFunc(reachParts, func(s *setting) bool { return s.Name == m.part })
	if i < 0 {
		return false, errors.New("there is no part " + m.part)
	}
	// A program that the mutant does not change is the same for all.
	inVerify := func(c change) bool { return strings.HasPrefix(c.file, "adapter/verify/") }
	service, checker := m, m
	service.changes = slices.DeleteFunc(slices.Clone(m.changes), inVerify)
	checker.changes = slices.DeleteFunc(slices.Clone(m.changes), func(c change) bool { return !inVerify(c) })
	if len(service.changes) == 0 {
		service.name = ""
	}
	if len(checker.changes) == 0 {
		checker.name = ""
	}
	program, err := rig.Build(ctx, dir, service.build())
	if err != nil {
		return false, err
	}
	checks, err := buildChecker(ctx, dir, checker)
	if err != nil {
		return false, err
	}
	r, err := reachRound(ctx, roundOptions{
		options: o, program: program, setting: *reachParts[i], seed: seed, duration: longestSearch, progress: io.Discard,
	}, checks)
	if err != nil && !r.failed() {
		return false, err
	}
	by := "nothing: NOT FOUND"
	if len(r.violations) > 0 {
		v := r.violations[0]
		by = fmt.Sprintf("%s: %.160s", v.Property, v.Text)
		if found = v.Property == m.breaks; !found {
			by += fmt.Sprintf(" (%s was expected: NOT FOUND)", m.breaks)
		}
	} else if len(r.faults) > 0 {
		by = fmt.Sprintf("NOT FOUND, but %.200s", r.faults[0])
	}
	fmt.Fprintf(w, "| %s: %s | %s, in %s | %.0f s, %d checks |\n",
		m.name, m.says, by, m.part, r.took.Seconds(), total(r.checks))
	return found, nil
}

func total[K comparable](counts map[K]int) (n int) {
	for _, c := range counts {
		n += c
	}
	return n
}

// reachMutants are services and resource servers with a mistake in the revocation stream.
var reachMutants = []mutant{
	{
		name: "halves-apart", says: "facts with and without a position are read in two statements",
		breaks: soundness, part: "health",
		changes: []change{
			{storeReach, "		err := queryRows(statement, func(rows *sql.Rows) error {\n",
				"		_ = statement\n		scan := func(rows *sql.Rows) error {\n"},
			{storeReach, "			each(f)\n			return nil\n		})\n		if err == nil && !found {\n", `			each(f)
			return nil
		}
		text, args := revokedAndBeat, []any{after, q.Reader}
		if s.engine.checkServer == nil {
			text, args = revoked, args[:1]
		}
		without := strings.NewReplacer(unstampedToken, "1 = 0", unstampedMark, "1 = 0").Replace(text)
		err := queryRows(raw(db, without, args...), scan)
		if err == nil {
			time.Sleep(50 * time.Millisecond)
			with := strings.ReplaceAll(text, "feed > $1", "feed > $1 AND 1 = 0")
			err = queryRows(raw(db, with, args...), scan)
		}
		if err == nil && !found {
`},
			{storeReach, "	\"errors\"\n", "	\"errors\"\n	\"strings\"\n"},
		},
	},
	{
		name: "instants-after", says: "a view is complete as of the end of its reading, not of its start",
		breaks: soundness, part: "slow",
		changes: []change{
			{feedWorkers, "	f.completeAsOf = r.began\n	if r.beat.began.Before(r.began) {\n",
				"	f.completeAsOf = f.Clock()\n	if false {\n"},
		},
	},
	{
		name: "blind", says: "a view is fresh although the store did not respond", breaks: soundness, part: "blind",
		changes: []change{
			{feedWorkers, "	f.note(FeedRead, err)\n	if err != nil {\n", `	f.note(FeedRead, err)
	if err != nil {
		f.mu.Lock()
		if f.isRead {
			f.completeAsOf, f.readOK = began, f.Clock()
		}
		f.mu.Unlock()
`},
			{feedWorkers, "	if err == nil {\n		f.beats = append(", "	if true {\n		f.beats = append("},
		},
	},
	{
		name: "fresh-first", says: "a view is said to be fresh before its facts are sent",
		breaks: soundness, part: "sliced",
		changes: []change{{"adapter/reachapi/stream.go", `		if err := s.ticks(view); err != nil {
			return cutOff(err), nil
		}
		s.freshness(view, proofWait)
`, `		s.freshness(view, proofWait)
		if err := s.ticks(view); err != nil {
			return cutOff(err), nil
		}
`}},
	},
	{
		name: "mark-stamped-once", says: "a mark that is raised gets no other position", breaks: soundness, part: "calm",
		changes: []change{{storeReach, "	unstampedMark  = `epoch <> stamped_epoch`", "	unstampedMark  = `feed = 0`"}},
	},
	{
		name: "epoch-equal", says: "a mark covers what was issued after it", breaks: precision, part: "calm",
		changes: []change{{verifyFacts, "	if s.epoch >= m.epoch {", "	if s.epoch > m.epoch {"}},
	},
	{
		name: "widest-only", says: "only the mark of the widest scope is looked up", breaks: soundness, part: "calm",
		changes: []change{{verifyFacts, "	return t.marks.Load().cover(t.seed, s) ||",
			"	return t.tenant.Load() == nil && t.marks.Load().cover(t.seed, s) ||"}},
	},
	{
		name: "except-ignored", says: "the session that a wide revocation spares is refused",
		breaks: precision, part: "calm",
		changes: []change{{verifyFacts, "	return m.except != s.sid || m.except == [16]byte{} || s.epoch < m.floor\n",
			"	return true\n"}},
	},
	{
		name: "rebuild-loses", says: "what is added while the table of sessions grows is lost",
		breaks: soundness, part: "calm",
		changes: []change{{verifyFacts, `		s = s.rebuilt(s.count+1, func(minute) bool { return true })
		slot, _ = s.find(&id)
		t.sessions.Store(s)
`, `		grown := s.rebuilt(s.count+1, func(minute) bool { return true })
		time.AfterFunc(200*time.Millisecond, func() { t.sessions.Store(grown) })
`}},
	},
	{
		name:   "cursor-without-facts",
		says:   "a restart takes the cursor of the state file without its facts, and resumes at it",
		breaks: soundness, part: "restarts",
		changes: []change{
			{verifyState, "	f.facts.replace(facts)\n", "	_ = facts\n"},
			{feedViews, "k.highest > s.cursor-position(feedMargin)", "k.highest > s.cursor"},
		},
	},
	{
		name: "wall-clock", says: "the age of a view goes by the wall clock alone", breaks: bound, part: "cut-off",
		changes: []change{{verifyStream, "	return max(i.monotonic-other.monotonic, i.wall-other.wall)\n",
			"	return i.wall - other.wall\n"}},
	},
	{
		name: "before-the-first", says: "tokens are accepted before the first view is complete", breaks: soundness,
		part: "restarts",
		changes: []change{
			{verifyStream, "		return time.Time{}, false\n	}\n	return f.began.Add(",
				"		return time.Now(), true\n	}\n	return f.began.Add("},
			{verifyStream, "	if fresh == nil {\n		return 0, false\n	}\n", "	if fresh == nil {\n		return 0, true\n	}\n"},
		},
	},
	{
		name: "fail-open", says: "tokens are accepted on a stale view", breaks: bound, part: "cut-off",
		changes: []change{{verifyToken, "	case now.age > v.maxAge && v.config.OnStale == Refuse:", "	case now.age < 0:"}},
	},
	{
		name: "tenant-wide-lost", says: "the marks of whole tenants are not sent", breaks: soundness, part: "calm",
		changes: []change{{feedWorkers, "		isNew := f.addTo(f.tenant(fact.TenantID), r, fact)\n", `
		if fact.Epoch > 0 && fact.ApplicationID == "" && fact.UserID == "" {
			continue
		}
		isNew := f.addTo(f.tenant(fact.TenantID), r, fact)
`}},
	},
	{
		name: "tenants-mixed", says: "the marks of one tenant are sent to another", breaks: precision, part: "calm",
		changes: []change{
			{feedWorkers, "	for _, fact := range facts {\n		isNew := ", "	for _, fact := range ofEach(facts) {\n		isNew := "},
			{feedWorkers, "// sweep drops", `func ofEach(facts []domain.Fact) (all []domain.Fact) {
	for _, fact := range facts {
		all = append(all, fact)
		if fact.Epoch > 0 {
			fact.TenantID = map[string]string{"tenant-0": "tenant-1", "tenant-1": "tenant-0"}[fact.TenantID]
			all = append(all, fact)
		}
	}
	return all
}

// sweep drops`},
		},
	},
	{
		name: "later-epoch", says: "an access token has a later epoch than its session", breaks: soundness, part: "calm",
		changes: []change{{"domain/accesstoken.go", "IssuedEpoch: t.IssuedEpoch,", "IssuedEpoch: t.IssuedEpoch + 1,"}},
	},
	{
		name: "no-beat", says: "a view is fresh without a write that the standby has confirmed", breaks: soundness,
		part: "failover",
		changes: []change{
			{feedWorkers, "	err := f.Store.Beat(within, f.Reader, stored)\n", "	_ = within\n	err := error(nil)\n"},
			{feedWorkers, "		r.beat, err = f.confirmed(ctx, read.Beat)\n",
				"		r.beat = beat{read.Beat, r.began, f.Clock()}\n"},
		},
	},
	{
		name: "by-age", says: "what a service whose clock is behind has revoked counts as old, and is not read",
		breaks: soundness, part: "behind",
		changes: []change{{storeReach, "	unstampedToken = `revoked_at <> 0 AND feed = 0`",
			"	unstampedToken = `revoked_at <> 0 AND feed = 0" +
				" AND revoked_at > (EXTRACT(EPOCH FROM clock_timestamp()) * 1000000)::bigint - 1200000000`"}},
	},
}
