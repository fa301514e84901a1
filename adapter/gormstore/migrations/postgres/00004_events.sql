-- +goose Up

-- The audit trail. Events never change; the janitor deletes old ones.
CREATE TABLE events (
    at             BIGINT           NOT NULL,
    version        BIGINT           NOT NULL,
    id             BYTEA            NOT NULL PRIMARY KEY,
    kind           TEXT COLLATE "C" NOT NULL,
    actor_kind     TEXT COLLATE "C" NOT NULL,
    actor_id       TEXT COLLATE "C" NOT NULL,
    actor_name     TEXT COLLATE "C" NOT NULL,
    actor_address  TEXT COLLATE "C" NOT NULL,
    request_id     TEXT COLLATE "C" NOT NULL,
    tenant_id      TEXT COLLATE "C" NOT NULL, -- '' for what belongs to no tenant
    object_id      TEXT COLLATE "C" NOT NULL,
    application_id TEXT COLLATE "C" NOT NULL,
    user_id        TEXT COLLATE "C" NOT NULL,
    before         TEXT COLLATE "C" NOT NULL, -- JSON, or ''
    after          TEXT COLLATE "C" NOT NULL,
    tokens         TEXT COLLATE "C" NOT NULL  -- JSON: an array of id in hex, application and user for each; or ''
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);
-- For the list of a tenant. It indexes an expression, without statistics, for the reasons in 00003.
CREATE INDEX events_tenant ON events ((tenant_id || '/'), id);
ALTER INDEX events_tenant ALTER COLUMN 1 SET STATISTICS 0;

-- The process that does a job, the end of its lease, and its position. The first step inserts the row.
--
-- The table janitor stays for older programs. One of them may purge while another program has its lease here: leases
-- save work, and correctness does not depend on them.
CREATE TABLE jobs (
    name        TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    holder      TEXT COLLATE "C" NOT NULL,
    lease_until BIGINT           NOT NULL, -- 0: the lease is free
    cursor      TEXT COLLATE "C" NOT NULL, -- where the pass has got to, as the job writes it; '' between passes
    ended_at    BIGINT           NOT NULL  -- of the last pass; 0: none
) WITH (fillfactor = 50);
INSERT INTO jobs (name, holder, lease_until, cursor, ended_at) SELECT 'purge', '', 0, '', ended_at FROM janitor;

-- The versions of a tenant and of its applications come from one counter in the tenant's row, which stays when the
-- tenant is deleted: an object that is created again never has an earlier version. A program that does not know
-- versions continues to write, by the defaults, and does not change them.
ALTER TABLE tenants
    ADD COLUMN version         BIGINT NOT NULL DEFAULT 1,
    ADD COLUMN version_counter BIGINT NOT NULL DEFAULT 1;
ALTER TABLE applications ADD COLUMN version BIGINT NOT NULL DEFAULT 1;

-- The id identifies one creation of an API key: a key that is deleted and created again with the same name has another.
ALTER TABLE api_keys
    ADD COLUMN id      BYTEA  NOT NULL DEFAULT uuid_send(gen_random_uuid()),
    ADD COLUMN version BIGINT NOT NULL DEFAULT 1;
CREATE UNIQUE INDEX api_keys_id ON api_keys (id);
