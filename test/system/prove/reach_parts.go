package main

import (
	"time"
)

// reachParts are the rounds with resource servers.
var reachParts = []*setting{
	{Engine: "postgres", Services: 3, reach: &reach{
		Name: "health", Says: "no faults: how soon a revocation reaches", Servers: 2, MaxAge: 4 * time.Second,
	}},
	{Engine: "sqlite", Services: 1, reach: &reach{
		Name: "calm", Says: "one service on SQLite, no faults", Servers: 2, MaxAge: 4 * time.Second,
	}},
	{Engine: "sqlite", Services: 1, reach: &reach{
		Name: "sliced", Says: "the network cuts every stream into slices", Servers: 2, MaxAge: 4 * time.Second,
		Deeds: together(sliceDeeds),
	}},
	{Engine: "postgres", Services: 3, reach: &reach{
		Name: "slow", Says: "the results of the database take up to a second", Servers: 2, MaxAge: 4 * time.Second,
		Deeds: together(slowDeeds),
	}},
	{Engine: "postgres", Services: 3, reach: &reach{
		Name: "blind", Says: "services are cut off from the database", Servers: 2, MaxAge: 4 * time.Second,
		Deeds: together(blindDeeds),
	}},
	{Engine: "sqlite", Services: 1, reach: &reach{
		Name: "restarts", Says: "resource servers end and start again, and their streams are slow", Servers: 2,
		MaxAge: 4 * time.Second, Deeds: together(restartDeeds),
	}},
	{Engine: "sqlite", Services: 1, reach: &reach{
		Name: "cut-off", Says: "resource servers are cut off while their clocks are set", Servers: 2, Stepping: true,
		MaxAge: 2 * time.Second, Deeds: together(cutOffDeeds),
	}},
	{Engine: "postgres", Services: 2, reach: &reach{
		Name: "behind", Says: "the clock of a service is half an hour behind", Servers: 2, Apart: -30 * time.Minute,
		MaxAge: 4 * time.Second,
	}},
	{Engine: "sqlite", Services: 1, reach: &reach{
		Name: "sqlite", Says: "one service on SQLite, with every fault of its processes and of the network",
		Servers: 2, MaxAge: 2 * time.Second, Deeds: together(serverDeeds, streamDeeds, serviceDeeds),
	}},
	{Engine: "memory", Services: 1, reach: &reach{
		Name: "memory", Says: "one service in memory, with faults of the resource servers and of the network",
		Servers: 2, MaxAge: 2 * time.Second, Deeds: together(serverDeeds, streamDeeds),
	}},
	{Engine: "postgres", Services: 3, reach: &reach{
		Name: "faults", Says: "three services, with every fault of processes and networks", Servers: 2,
		MaxAge: 2 * time.Second, Accept: true, Deeds: together(serverDeeds, streamDeeds, serviceDeeds, databaseDeeds),
	}},
	{Engine: "postgres", Services: 3, reach: &reach{
		Name: "failover", Says: "fail-overs to a synchronous standby, while the old primary runs on", Servers: 2,
		Standby: true, MaxAge: 2 * time.Second,
		Deeds: func(w *reachWorld, n *nemesis) []deed { return failOverDeeds(w, n, false) },
	}},
	{Engine: "postgres", Services: 3, reach: &reach{
		Name: "address", Says: "the same, and the address of the primary moves: a service is connected to both", Servers: 2,
		Standby: true, MaxAge: 2 * time.Second,
		Deeds: func(w *reachWorld, n *nemesis) []deed { return failOverDeeds(w, n, true) },
	}},
	{Engine: "postgres", Services: 3, reach: &reach{
		Name: "clocks", Says: "clocks minutes off, which are set again and again", Servers: 2, Apart: 4 * time.Minute,
		Stepping: true, MaxAge: 2 * time.Second, Deeds: together(clockDeeds, streamDeeds, serviceDeeds),
	}},
	{Engine: "postgres", Services: 3, reach: &reach{
		Name: "upgrade", Says: "services without the stream revoke, and are upgraded one after another", Servers: 2,
		Upgrade: true, MaxAge: 4 * time.Second, Deeds: together(upgradeDeeds),
	}},
	{Engine: "postgres", Services: 2, reach: &reach{
		Name: "pooler", Says: "PgBouncer, and resource servers that require proofs", Servers: 2, Bouncer: true, Proof: true,
		MaxAge: 3 * time.Second, Deeds: together(serverDeeds, streamDeeds, serviceDeeds),
	}},
}

// Label implements rig.Part.
func (s *setting) Label() (name, about string) { return s.Name, s.Says }
