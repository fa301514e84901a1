package main

import (
	"fmt"
	"time"
)

// plan is the timing of a run.
type plan struct {
	length      time.Duration // of the load
	window      time.Duration
	arrival     time.Duration // until all users have arrived
	settled     time.Duration // after that the memory of a process should not grow
	purging     time.Duration // after that as much is purged as is issued
	restarts    time.Duration // between restarts; down is how long a process is stopped
	down        time.Duration
	kiosk, shop time.Duration // between revocations of the application
	tenant      time.Duration // between revocations of a tenant
	compare     time.Duration // between comparisons of the store
	capacity    time.Duration // of measuring the capacity; the second half counts
}

func newPlan(length time.Duration) plan {
	return plan{
		length: length, window: length / 30, arrival: length / 15, settled: length / 10,
		purging:  12 * time.Minute, // arrival, the longest lifetime that many have, how long ended ones are kept, and a pass
		restarts: length / 10, down: min(length/300, 5*time.Second), kiosk: length / 30, shop: length / 6, tenant: length / 4,
		compare: length / 6, capacity: min(20*time.Second, length/3),
	}
}

const (
	// part is the load's share of the capacity.
	part    = 0.7
	workers = 48
	// userSeconds is how many users there are for each call a second: each user calls once in so many seconds.
	userSeconds = 2.5
	mostUsers   = 20_000
	// pass is how long a refresh token may wait for its purge: the interval, the pass, and the lease of a process that was
	// killed during one.
	pass = 3 * time.Minute
)

// The lifetimes are the shortest that the service accepts.
var (
	shop = &application{id: "shop", expiration: slidingWithMaximum, ttl: time.Minute, maximum: 3 * time.Minute,
		limit: 3, share: 5}
	mobile = &application{id: "mobile", expiration: sliding, ttl: 2 * time.Minute, share: 4}
	kiosk  = &application{id: "kiosk", expiration: fixed, ttl: 2 * time.Minute, share: 1}
	site   = &application{id: "site", expiration: slidingWithMaximum, ttl: time.Minute, maximum: 2 * time.Minute, share: 1}
)

// kickstart returns the kickstart file with the policies of the model.
func kickstart() string {
	policy := func(a *application) string {
		name := map[expiration]string{
			fixed: "Fixed", sliding: "SlidingWindow", slidingWithMaximum: "SlidingWindowWithMaximumLifetime",
		}[a.expiration]
		text := fmt.Sprintf("refreshTokenExpirationPolicy: %s, refreshTokenTimeToLiveInMinutes: %.0f", name, a.ttl.Minutes())
		if a.maximum > 0 {
			text += fmt.Sprintf(", refreshTokenSlidingWindowConfiguration: {maximumTimeToLiveInMinutes: %.0f}",
				a.maximum.Minutes())
		}
		return text
	}
	one := func(a *application) string {
		return fmt.Sprintf("{id: %s, name: %s, jwtConfiguration: {maximumActiveTokens: %d, %s}}",
			a.id, a.id, a.limit, policy(a))
	}
	onetime := fmt.Sprintf("jwtConfiguration: {refreshTokenOneTimeUseConfiguration: "+
		"{gracePeriodInSeconds: %.0f, recoveryBurst: %d, recoveryInterval: %d}}",
		grace.Seconds(), recoveryBurst, recoveryInterval)
	return fmt.Sprintf(`
tenants:
  - {id: acme, name: Acme, %s, applications: [%s, %s, %s]}
  - {id: rival, name: Rival, %s, applications: [%s]}
apiKeys: [{name: soak, key: %s, permissions: {endpoints: {"*": ["*"]}}}]
`, onetime, one(shop), one(mobile), one(kiosk), onetime, one(site), apiKey)
}
