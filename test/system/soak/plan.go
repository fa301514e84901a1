package main

import (
	"fmt"
	"time"
)

// plan is when things happen.
type plan struct {
	length      time.Duration // of the load
	window      time.Duration
	arrival     time.Duration // until all users have come
	settled     time.Duration // from then on a process has what it needs
	purging     time.Duration // from then on as much is purged as is issued
	restarts    time.Duration // every so often; down is how long the process stays away
	down        time.Duration
	kiosk, shop time.Duration // every so often an application is revoked
	tenant      time.Duration // and a tenant
	compare     time.Duration // and the store compared
	capacity    time.Duration // of measuring it; the second half counts
}

func newPlan(length time.Duration) plan {
	return plan{
		length: length, window: length / 30, arrival: length / 15, settled: length / 10,
		purging:  12 * time.Minute, // arrival, the longest that many of them live, what the dead are kept, and a pass
		restarts: length / 10, down: min(length/300, 5*time.Second), kiosk: length / 30, shop: length / 6, tenant: length / 4,
		compare: length / 6, capacity: min(20*time.Second, length/3),
	}
}

const (
	// part is how much of the capacity the load takes.
	part    = 0.7
	workers = 48
	// userSeconds is how many users there are for each call a second: each calls so often.
	userSeconds = 2.5
	mostUsers   = 20_000
	// pass is how long what is old may wait for a purge: for its interval, the pass, and the lease of a process that was killed in one.
	pass = 3 * time.Minute
)

// The lives are the shortest that the service takes.
var (
	shop   = &application{id: "shop", expiration: slidingWithMaximum, ttl: time.Minute, maximum: 3 * time.Minute, limit: 3, share: 5}
	mobile = &application{id: "mobile", expiration: sliding, ttl: 2 * time.Minute, share: 4}
	kiosk  = &application{id: "kiosk", expiration: fixed, ttl: 2 * time.Minute, share: 1}
	site   = &application{id: "site", expiration: slidingWithMaximum, ttl: time.Minute, maximum: 2 * time.Minute, share: 1}
)

// kickstart says what the model knows as well.
func kickstart() string {
	policy := func(a *application) string {
		name := map[expiration]string{fixed: "Fixed", sliding: "SlidingWindow", slidingWithMaximum: "SlidingWindowWithMaximumLifetime"}[a.expiration]
		text := fmt.Sprintf("refreshTokenExpirationPolicy: %s, refreshTokenTimeToLiveInMinutes: %.0f", name, a.ttl.Minutes())
		if a.maximum > 0 {
			text += fmt.Sprintf(", refreshTokenSlidingWindowConfiguration: {maximumTimeToLiveInMinutes: %.0f}", a.maximum.Minutes())
		}
		return text
	}
	one := func(a *application) string {
		return fmt.Sprintf("{id: %s, name: %s, jwtConfiguration: {maximumActiveTokens: %d, %s}}", a.id, a.id, a.limit, policy(a))
	}
	onetime := fmt.Sprintf("jwtConfiguration: {refreshTokenOneTimeUseConfiguration: {gracePeriodInSeconds: %.0f, recoveryBurst: %d, recoveryInterval: %d}}",
		grace.Seconds(), recoveryBurst, recoveryInterval)
	return fmt.Sprintf(`
tenants:
  - {id: acme, name: Acme, %s, applications: [%s, %s, %s]}
  - {id: rival, name: Rival, %s, applications: [%s]}
apiKeys: [{name: soak, key: %s, permissions: {endpoints: {"*": ["*"]}}}]
`, onetime, one(shop), one(mobile), one(kiosk), onetime, one(site), apiKey)
}
