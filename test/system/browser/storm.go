package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"time"
)

const (
	stormTabs   = 5
	stormRounds = 12
)

// stormPage is a page that exchanges when it loads, as an SPA does, and then reloads. At every third load the user
// reloads before the response.
const stormPage = `<!doctype html><title>storm</title><link rel=icon href=data:,><script type=module>` + library + `
const q = new URLSearchParams(location.search), tab = +q.get('tab'), round = +q.get('round');
const next = () => { q.set('round', round + 1); location.replace('?' + q); };
await new Promise(r => setTimeout(r, Math.random() * 60));
if (round < +q.get('rounds')) {
  const exchanged = exchange();
  if ((tab + round) % 3 == 0) {
    exchanged.catch(() => {});
    await new Promise(r => setTimeout(r, Math.random() * 40));
    await report({tab, round, left: true});
  } else {
    await report({tab, round, answer: await exchanged});
  }
  next();
} else {
  await report({tab, round, last: true, answer: await exchange()});
}
async function report(r) {
  await fetch('/test/report', {method: 'POST', body: JSON.stringify(r)});
}
</script>`

type stormReport struct {
	Tab, Round int
	Left, Last bool
	Answer     answer
}

// stormPart has five tabs of one user that reload again and again: none is refused, and all end with the same session.
func stormPart(ctx context.Context, h *harness) error {
	h.note("each of %d tabs loads %d times, exchanges at each load, and at a third of them reloads before the response",
		stormTabs, stormRounds+1)
	for _, s := range []struct {
		about, application string
		late               time.Duration
	}{
		{"grace period 30 s", "shop", 0},
		{"grace period 30 s, responses up to 2 s late and out of order", "shop", 2 * time.Second},
		{"grace period 2 s, responses up to 1.5 s late and out of order", "storm", 1500 * time.Millisecond},
	} {
		if err := storm(ctx, h, s.about, s.application, s.late); err != nil {
			return fmt.Errorf("%s: %w", s.about, err)
		}
	}
	return nil
}

func storm(ctx context.Context, h *harness, about, application string, late time.Duration) error {
	p, err := h.browser.newProfile(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = p.close(context.WithoutCancel(ctx)) }()
	first, err := p.open(ctx, "https://"+wwwHost+"/test/page")
	if err != nil {
		return err
	}
	if err := first.login(ctx, application, "ada"); err != nil {
		return err
	}
	h.world.slow(nil)
	if late > 0 {
		h.world.slow(func(r *http.Request) time.Duration {
			if r.Method != http.MethodPost {
				return 0
			}
			return rand.N(late)
		})
	}
	defer h.world.slow(nil)
	reports := h.world.listen(stormTabs * (stormRounds + 1))
	for i := range stormTabs {
		url := fmt.Sprintf("https://%s/test/storm?tab=%d&round=0&rounds=%d", wwwHost, i, stormRounds)
		if _, err := p.open(ctx, url); err != nil {
			return err
		}
	}
	seen, err := gather(ctx, h, about, reports)
	if err != nil {
		return err
	}
	h.world.slow(nil)
	end, err := first.exchange(ctx, nil)
	if err != nil {
		return err
	}
	who, err := end.who()
	h.check(err == nil && len(seen.sessions) == 1 && seen.sessions[who.Session],
		"%s: %d loads left before their response, %s; %d session in all tabs, and at the end: %s",
		about, seen.left, count(seen.outcomes), len(seen.sessions), end)
	return nil
}

// stormSeen is what the tabs reported.
type stormSeen struct {
	outcomes map[string]int
	sessions map[string]bool
	left     int // loads that ended before their response
}

// gather reads reports until each tab has sent its last.
func gather(ctx context.Context, h *harness, about string, reports <-chan json.RawMessage) (stormSeen, error) {
	seen := stormSeen{outcomes: map[string]int{}, sessions: map[string]bool{}}
	last := 0
	for last < stormTabs {
		var r stormReport
		select {
		case text := <-reports:
			if err := json.Unmarshal(text, &r); err != nil {
				return seen, err
			}
		case <-ctx.Done():
			return seen, context.Cause(ctx)
		}
		if r.Last {
			last++
		}
		if r.Left {
			seen.left++
			continue
		}
		seen.outcomes[r.Answer.Outcome]++
		if !r.Answer.ok() {
			h.fail("%s: tab %d, load %d: %s", about, r.Tab, r.Round, r.Answer)
			continue
		}
		who, err := r.Answer.who()
		if err != nil {
			return seen, err
		}
		seen.sessions[who.Session] = true
	}
	return seen, nil
}

func count(n map[string]int) string {
	var all []string
	for _, word := range slices.Sorted(maps.Keys(n)) {
		all = append(all, fmt.Sprintf("%s %d", word, n[word]))
	}
	return strings.Join(all, ", ")
}
