-- +goose Up

-- The audit trail. Events never change; the janitor deletes old ones.
CREATE TABLE events (
    id             BLOB    NOT NULL PRIMARY KEY,
    at             INTEGER NOT NULL,
    version        INTEGER NOT NULL,
    kind           TEXT    NOT NULL,
    actor_kind     TEXT    NOT NULL,
    actor_id       TEXT    NOT NULL,
    actor_name     TEXT    NOT NULL,
    actor_address  TEXT    NOT NULL,
    request_id     TEXT    NOT NULL,
    tenant_id      TEXT    NOT NULL, -- '' for what belongs to no tenant
    object_id      TEXT    NOT NULL,
    application_id TEXT    NOT NULL,
    user_id        TEXT    NOT NULL,
    before         TEXT    NOT NULL, -- JSON, or ''
    after          TEXT    NOT NULL,
    tokens         TEXT    NOT NULL  -- JSON: an array of id in hex, application and user for each; or ''
) STRICT;
CREATE INDEX events_tenant ON events (tenant_id, id);

-- The process that does a job, the end of its lease, and its position. The first step inserts the row. The table
-- janitor stays for older programs.
CREATE TABLE jobs (
    name        TEXT    NOT NULL PRIMARY KEY,
    holder      TEXT    NOT NULL,
    lease_until INTEGER NOT NULL, -- 0: the lease is free
    cursor      TEXT    NOT NULL, -- where the pass has got to, as the job writes it; '' between passes
    ended_at    INTEGER NOT NULL  -- of the last pass; 0: none
) STRICT;
INSERT INTO jobs (name, holder, lease_until, cursor, ended_at) SELECT 'purge', '', 0, '', ended_at FROM janitor;

-- The versions of a tenant and of its applications come from one counter in the tenant's row, which stays when the
-- tenant is deleted: an object that is created again never has an earlier version.
ALTER TABLE tenants ADD COLUMN version INTEGER NOT NULL DEFAULT 1;
ALTER TABLE tenants ADD COLUMN version_counter INTEGER NOT NULL DEFAULT 1;
ALTER TABLE applications ADD COLUMN version INTEGER NOT NULL DEFAULT 1;

-- The id identifies one creation of an API key. A new column cannot have a random default, which a program that does
-- not know of ids needs, so the table is created again.
CREATE TABLE api_keys_next (
    name        TEXT    NOT NULL PRIMARY KEY,
    hash        BLOB    NOT NULL UNIQUE,
    tenant_id   TEXT    NOT NULL, -- '' for every tenant
    permissions TEXT    NOT NULL,
    expires_at  INTEGER NOT NULL,
    id          BLOB    NOT NULL UNIQUE DEFAULT (randomblob(16)),
    version     INTEGER NOT NULL DEFAULT 1
) STRICT, WITHOUT ROWID;
INSERT INTO api_keys_next (name, hash, tenant_id, permissions, expires_at)
SELECT name, hash, tenant_id, permissions, expires_at FROM api_keys;
DROP TABLE api_keys;
ALTER TABLE api_keys_next RENAME TO api_keys;
