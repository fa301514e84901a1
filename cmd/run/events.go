package run

// The events of the log that are not those of a request or a statement. OPERATING.md lists all.
const (
	eventListening         = "server.listening"
	eventStopping          = "server.stopping"
	eventNotReady          = "server.not_ready"
	eventPublicURLMissing  = "config.public_url_missing"
	eventRootTenantMissing = "config.root_tenant_missing"
	eventRestored          = "config.restored"
	eventMigrated          = "database.migrated"
	eventKeysReloaded      = "keys.reloaded"
	eventKeysReloadFailed  = "keys.reload_failed"
	eventKeysRotated       = "keys.rotated"
	eventKeyRotateFailed   = "keys.rotation_failed"
	eventPurgePass         = "purge.pass"
	eventPurgeFailed       = "purge.failed"
	eventWorkerFailed      = "background.failed"
	eventRefusalLost       = "audit.refusal_lost"
	eventFeedFailed        = "feed.failed"
	eventFeedRecovered     = "feed.recovered"
	eventFeedRepaired      = "feed.repaired"
	eventFeedRewound       = "feed.rewound"
	eventLogLost           = "log.lost"
)
