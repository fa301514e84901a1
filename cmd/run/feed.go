package run

import (
	"context"
	"crypto/rand"

	"github.com/refreshd/refreshd/adapter/metrics"
	"github.com/refreshd/refreshd/adapter/reachapi"
	"github.com/refreshd/refreshd/adapter/web"
	"github.com/refreshd/refreshd/usecase"
)

// newFeed returns the feed of this process. Its clock keeps the monotonic reading.
func (s *service) newFeed() *usecase.Feed {
	f := &usecase.Feed{Store: s.store, Clock: s.clock, Reader: rand.Text(), Notice: s.logFeed}
	s.metrics.Feed(func() metrics.Feed { return metrics.Feed(f.Stats()) })
	return f
}

// logFeed logs what happens to the feed. A call that fails again and again is logged once.
func (s *service) logFeed(n usecase.FeedNotice) {
	switch n.Kind {
	case usecase.FeedFailed:
		s.log.Warn("the feed of revocations failed, will retry", "event", eventFeedFailed, "kind", string(n.Task),
			"error", n.Err)
	case usecase.FeedRecovered:
		s.log.Info("the feed of revocations works again", "event", eventFeedRecovered, "kind", string(n.Task))
	case usecase.FeedRepaired:
		s.log.Error("a check of the feed found revocations that it had missed", "event", eventFeedRepaired,
			"facts", n.Facts)
	case usecase.FeedRewound:
		s.log.Warn("the positions of the feed went backwards: the database has failed over and lost some, or was restored; "+
			"all that matters is read again", "event", eventFeedRewound)
	}
}

// revocations is the stream of revocations.
func (s *service) revocations(ctx context.Context, publicURL string) (web.Dialect, error) {
	tenantID, _, err := s.examples(ctx)
	if err != nil {
		return web.Dialect{}, err
	}
	prove := &usecase.Prove{Tenants: s.store, Keys: s.keys, Signer: s.signer, PublicURL: publicURL, Clock: s.clock}
	api := &reachapi.API{Feed: s.feed, Prove: prove.Do, URL: publicURL, TenantID: tenantID}
	return api.Dialect()
}
