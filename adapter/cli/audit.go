package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

var auditColumns = []column{
	{"TIME", "instant"}, {"KIND", "kind"}, {"TENANT", "tenantId"}, {"OBJECT", "object"}, {"ACTOR", "actor.kind"},
	{"NAME", "actor.name"}, {"ADDRESS", "actor.address"}, {"REQUEST", "requestId"}, {"CHANGED", "changed"},
}

// objectAndChange returns the members object and changed of an event.
func objectAndChange(event []member) []member {
	return []member{{"object", objectOf(event)}, {"changed", changedOf(event)}}
}

// objectOf returns the id of an event's object, or what it is about if that is several: the user, the application.
func objectOf(event []member) string {
	var scope []string
	for _, m := range event {
		switch m.name {
		case "objectId":
			return m.text
		case "applicationId":
			scope = append(scope, "application "+m.text)
		case "userId":
			scope = append(scope, "user "+m.text)
		}
	}
	return strings.Join(scope, ", ")
}

// changedOf returns the names of the fields that an update changed. Their values may be long, or the data of a user.
func changedOf(event []member) string {
	updates, names := false, []string(nil)
	for _, m := range event {
		updates = updates || m.name == "kind" && (strings.HasSuffix(m.text, ".updated") || m.text == "token.changed")
		if name, ok := strings.CutPrefix(m.name, "before."); ok {
			names = append(names, name)
		}
	}
	if !updates {
		return ""
	}
	return strings.Join(names, ", ")
}

// auditFormats are the formats of events: JSON is one event on each line, because --follow has no end.
var auditFormats = []string{"table", "json"}

const (
	// followOverlap is how long before its last poll a poll begins. An event has the time of the clock of its writer, and
	// may be stored later than one with a later time.
	followOverlap  = 2 * time.Minute
	followInterval = 2 * time.Second
)

// auditFlags are those of `audit`.
type auditFlags struct {
	from, until, actor, kind, object, requestID textFlag

	follow bool
	limit  limitFlag
	format textFlag
	begin  time.Time
}

func (l *line) audit() *cobra.Command {
	f := &auditFlags{format: textFlag{form: "FORMAT", text: auditFormats[0]}}
	c := &cobra.Command{
		Use: "audit", GroupID: administering,
		Short: "List the audit trail: who changed or revoked what",
		Long: `List the events of the audit trail, the newest first: who did what to which object, and when. With
--tenant it lists those of that tenant. They are kept for REFRESHD_AUDIT_RETENTION.

With --follow it prints new events as they are stored, the oldest first, each once, until it is
interrupted. It asks every 2 seconds, and each time for the last two minutes, because a writer's
event may be stored later than another's with a later time.

--from and --until take a time as in RFC 3339, or a duration for that long ago. A table names the
fields that an update changed. --output json prints one event on each line, in full, with the old
and the new values. The API key of --server needs GET on /audit.`,
		Example: `  refreshd audit --from 7d --kind tenant.updated,application.updated
  refreshd audit --tenant acme --from 2030-01-31T12:00:00Z --output json
  refreshd audit --follow`,
		Args: noArguments,
	}
	for _, flag := range []struct {
		to               *textFlag
		name, form, help string
	}{
		{&f.from, "from", "TIME", "events of this time and later; a duration, such as 24h or 7d, is that long ago"},
		{&f.until, "until", "TIME", "events before this time"},
		{&f.actor, "actor", "ID", "events of the actor with this id: an API key's, or a user's"},
		{&f.kind, "kind", "KIND", "events of these kinds, such as tenant.updated,apiKey.updated"},
		{&f.object, "object", "ID", "events about the object with this id"},
		{&f.requestID, "request-id", "ID", "events of this request"},
	} {
		flag.to.form = flag.form
		c.Flags().Var(flag.to, flag.name, flag.help)
	}
	c.Flags().BoolVar(&f.follow, "follow", false, "print new events until it is interrupted")
	f.limit.add(c)
	c.Flags().VarP(&f.format, "output", "o", "how to write the events: table, or json, one on each line")
	_ = c.RegisterFlagCompletionFunc("output",
		cobra.FixedCompletions(auditFormats, cobra.ShellCompDirectiveNoFileComp))
	l.administered(c, "audit")
	return l.administers(c, f.run)
}

// request returns the request of the list.
func (f *auditFlags) request(s *session, now time.Time) (request, error) {
	if !slices.Contains(auditFormats, f.format.text) {
		return request{}, s.wrong("--output is not one of table, json")
	}
	q := url.Values{}
	for name, text := range map[string]string{"from": f.from.text, "until": f.until.text} {
		if text == "" {
			continue
		}
		at, err := instantOf(text, now)
		if err != nil {
			return request{}, s.wrong("--%s is neither a time as in RFC 3339, such as 2030-01-31T12:00:00Z, nor a "+
				"duration, such as 24h or 7d", name)
		}
		if q.Set(name, strconv.FormatInt(at.UnixMilli(), 10)); name == "from" {
			f.begin = at
		}
	}
	if f.follow && f.until.text != "" {
		return request{}, s.wrong("--follow has no --until")
	}
	set(q, "actor", f.actor.text)
	set(q, "kind", f.kind.text)
	set(q, "object", f.object.text)
	set(q, "requestId", f.requestID.text)
	return request{path: "/audit", query: q, what: "list of events"}, nil
}

// instantOf returns a time, or a duration before now: one of Go's, or a number of days.
func instantOf(text string, now time.Time) (time.Time, error) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil {
			return now.Add(-time.Duration(n) * 24 * time.Hour), nil
		}
	}
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	return time.Parse(time.RFC3339, text)
}

func (f *auditFlags) run(ctx context.Context, s *session, _ []string) error {
	r, err := f.request(s, time.Now())
	if err := errors.Join(err, f.limit.check(s)); err != nil {
		return err
	}
	client, err := s.client(ctx, reading)
	if err != nil {
		return err
	}
	to := s.rows(&outputFlag{f.format}, auditColumns...)
	to.derive = objectAndChange
	write := to.add
	if f.format.text == "json" {
		write = to.lines
	}
	if f.follow {
		return f.poll(ctx, s, client, r, write)
	}
	more, err := client.pages(ctx, r, f.limit.rows, write)
	if err == nil && more {
		s.note("There are more: --limit 0 lists all.")
	}
	return err
}

// lines writes each row on a line of its own.
func (r *rows) lines(page []json.RawMessage) error {
	var out bytes.Buffer
	for _, row := range page {
		if err := json.Compact(&out, row); err != nil {
			return failed(StatusFailed, "an event is not JSON: %v", err)
		}
		out.WriteByte('\n')
	}
	_, err := r.w.Write(out.Bytes())
	return err
}

// poll writes events, the oldest first, until ctx is done. A failure that may pass is reported once and retried.
func (f *auditFlags) poll(
	ctx context.Context, s *session, c *client, r request, write func([]json.RawMessage) error,
) error {
	begin, seen := f.begin, seenEvents{}
	skip := begin.IsZero() // earlier events, which the first polls have too
	if skip {
		begin = time.Now().Add(-followOverlap)
	}
	failing := false
	for {
		polled := time.Now()
		r.query.Set("from", strconv.FormatInt(begin.UnixMilli(), 10))
		var found []json.RawMessage
		_, err := c.pages(ctx, r, 0, func(page []json.RawMessage) error {
			found = append(found, seen.unseen(page)...)
			return nil
		})
		if ctx.Err() != nil {
			return nil // which is how it ends
		}
		var failure *Failure
		switch {
		case errors.As(err, &failure) && failure.Status == StatusFailed:
			if !failing {
				s.note("%v. Trying again.", err)
			}
			if failing = true; !pause(ctx) {
				return nil
			}
			continue
		case err != nil:
			return err
		}
		failing = false
		slices.Reverse(found)
		if len(found) > 0 && !skip {
			if err := write(found); err != nil {
				return err
			}
		}
		skip = false
		// An event is asked for until two minutes after its time. Those that were seen are kept a poll longer.
		if next := polled.Add(-followOverlap); next.After(begin) {
			begin = next
		}
		seen.forget()
		if !pause(ctx) {
			return nil
		}
	}
}

// pause waits until the next poll is due. It reports whether ctx is not done.
func pause(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(followInterval):
		return true
	}
}

// seenEvents are the ids of events that were written, by the number of polls since an event was last in a response.
type seenEvents map[string]int

// unseen returns the events that were not seen, and notes them all.
func (s seenEvents) unseen(page []json.RawMessage) (fresh []json.RawMessage) {
	for _, row := range page {
		var event struct{ ID string }
		_ = json.Unmarshal(row, &event) // one without an id is written each time
		_, seen := s[event.ID]
		if event.ID == "" || !seen {
			fresh = append(fresh, row)
		}
		s[event.ID] = 0
	}
	return fresh
}

// forget removes events that no response had for some polls.
func (s seenEvents) forget() {
	for id, polls := range s {
		if s[id] = polls + 1; polls > 3 {
			delete(s, id)
		}
	}
}
