-- +goose Up

-- The hash of the key that was replaced by the present one and is still valid; NULL if there is none.
ALTER TABLE api_keys ADD COLUMN previous_hash BLOB;
CREATE UNIQUE INDEX api_keys_previous_hash ON api_keys (previous_hash) WHERE previous_hash IS NOT NULL;

-- For the list of a tenant's keys, and to delete them with it.
CREATE INDEX api_keys_tenant ON api_keys (tenant_id, id);

-- The highest version of an API key that was deleted. A new one begins above it, so that an id that is used again has
-- no earlier version.
ALTER TABLE key_ring ADD COLUMN deleted_api_key_version INTEGER NOT NULL DEFAULT 0;
