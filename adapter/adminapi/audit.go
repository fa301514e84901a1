package adminapi

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/refreshd/refreshd/adapter/web"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/usecase/admin"
)

// eventData is an event in a response.
type eventData struct {
	ID            string          `json:"id"`
	Instant       int64           `json:"instant"`
	Kind          string          `json:"kind"`
	Actor         actorData       `json:"actor"`
	TenantID      string          `json:"tenantId,omitempty"`
	ApplicationID string          `json:"applicationId,omitempty"`
	UserID        string          `json:"userId,omitempty"`
	ObjectID      string          `json:"objectId,omitempty"`
	Version       uint64          `json:"version,omitempty"`
	RequestID     string          `json:"requestId,omitempty"`
	Before        json.RawMessage `json:"before,omitempty"`
	After         json.RawMessage `json:"after,omitempty"`
	Tokens        []tokenData     `json:"tokens,omitempty"`
}

type actorData struct {
	Kind    string `json:"kind"`
	ID      string `json:"id,omitempty"`
	Name    string `json:"name,omitempty"`
	Address string `json:"address,omitempty"`
}

// tokenData names a refresh token that an event ended or changed.
type tokenData struct {
	ID            string `json:"id"`
	ApplicationID string `json:"applicationId"`
	UserID        string `json:"userId"`
}

func newEventData(e domain.Event) eventData {
	d := eventData{
		ID: e.ID.String(), Instant: e.At.UnixMilli(), Kind: string(e.Kind),
		Actor:    actorData{string(e.Actor.Kind), e.Actor.ID, e.Actor.Name, e.Actor.Address},
		TenantID: e.TenantID, ApplicationID: e.ApplicationID, UserID: e.UserID, ObjectID: e.ObjectID,
		Version: uint64(e.Version), RequestID: e.RequestID,
		Before: json.RawMessage(e.Before), After: json.RawMessage(e.After),
	}
	for _, t := range e.Tokens {
		d.Tokens = append(d.Tokens, tokenData{t.ID.String(), t.ApplicationID, t.UserID})
	}
	return d
}

// auditQuery is the query of the list of events. A kind may be several, with commas between them.
type auditQuery struct {
	From      *int64  `json:"from"`
	Until     *int64  `json:"until"`
	Kind      *string `json:"kind"`
	Actor     *string `json:"actor"`
	Object    *string `json:"object"`
	RequestID *string `json:"requestId"`
	Limit     *int64  `json:"limit"`
	Cursor    *string `json:"cursor"`
}

// lastInstant is the end of the year 9999: an id has room for it.
const lastInstant = 253402300799999

// selection returns the events that the query selects, and the same as a canonical query.
func (q auditQuery) selection() (a admin.AuditQuery, filters url.Values, err error) {
	var p domain.Problems
	filters = url.Values{}
	instant := func(name string, sent *int64) (at time.Time) {
		switch {
		case sent == nil:
		case *sent < 0 || *sent > lastInstant:
			p.Add(name, domain.Malformed, "use milliseconds since 1970")
		default:
			filters.Set(name, strconv.FormatInt(*sent, 10))
			at = time.UnixMilli(*sent)
		}
		return at
	}
	text := func(name string, sent *string) string {
		switch {
		case sent == nil:
			return ""
		case *sent == "":
			p.Add(name, domain.Blank, "name it, or omit this")
		case len(*sent) > maximumFilter:
			p.Add(name, domain.TooLong, "use at most 1024 bytes")
		case strings.ContainsRune(*sent, 0):
			p.Add(name, domain.Malformed, "omit the character U+0000")
		default:
			filters.Set(name, *sent)
		}
		return *sent
	}
	a.From, a.Until = instant("from", q.From), instant("until", q.Until)
	a.ActorID, a.ObjectID, a.RequestID = text("actor", q.Actor), text("object", q.Object), text("requestId", q.RequestID)
	if kinds := text("kind", q.Kind); kinds != "" {
		for kind := range strings.SplitSeq(kinds, ",") {
			a.Kinds = append(a.Kinds, domain.EventKind(kind))
		}
	}
	return a, filters, p.Err()
}

const maximumFilter = 1024 // bytes; no id is longer

// audit returns the route of the audit trail.
func (a *API) audit() []web.Route {
	r := resource[domain.Event]{path: "/audit", noun: "event", action: "audit"}
	return []web.Route{r.route(http.MethodGet, "", "read", a.handleAudit)}
}

func (a *API) handleAudit(c echo.Context) error {
	q, err := web.Query[auditQuery](c)
	if err != nil {
		return err
	}
	selection, filters, err := q.selection()
	if err != nil {
		return err
	}
	return resource[domain.Event]{
		path: "/audit?" + filters.Encode(), // a cursor belongs to one selection
		list: func(ctx context.Context, by admin.By, after string, limit int) ([]domain.Event, string, error) {
			if after != "" {
				var ok bool
				if selection.Below, ok = domain.ParseID(after); !ok {
					return nil, "", errCursor()
				}
			}
			selection.Limit = limit
			page, err := a.Audit.List(ctx, by, selection)
			if err != nil || page.Next.IsZero() {
				return page.Events, "", err
			}
			return page.Events, page.Next.String(), nil
		},
		next: func(e domain.Event) string { return e.ID.String() },
		json: func(e domain.Event) ([]byte, error) { return json.Marshal(newEventData(e)) },
	}.sendPage(c, listQuery{q.Limit, q.Cursor}, filters)
}
