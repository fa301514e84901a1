-- +goose Up

-- The audit trail. Nothing of it ever changes; the janitor deletes what is old.
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
-- For the list of a tenant. It is an expression, and without statistics, for the reasons in 00003.
CREATE INDEX events_tenant ON events ((tenant_id || '/'), id);
ALTER INDEX events_tenant ALTER COLUMN 1 SET STATISTICS 0;

-- Who does a job, until when, and where it has got to. A row is made by the first step.
--
-- The table janitor stays for programs that know no other. One of them may purge beside a program that has its lease
-- here: leases save work, and nothing depends on them.
CREATE TABLE jobs (
    name        TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    holder      TEXT COLLATE "C" NOT NULL,
    lease_until BIGINT           NOT NULL, -- 0: the lease is free
    cursor      TEXT COLLATE "C" NOT NULL, -- where the pass has got to, as the job writes it; '' between passes
    ended_at    BIGINT           NOT NULL  -- of the last pass; 0: none
) WITH (fillfactor = 50);
INSERT INTO jobs (name, holder, lease_until, cursor, ended_at) SELECT 'purge', '', 0, '', ended_at FROM janitor;

-- The versions of a tenant and of its applications come from one counter in the tenant's row, which stays when the
-- tenant is deleted: what is created again never has a version of before. A program that does not know of versions
-- goes on writing, by the defaults, and leaves them as they are.
ALTER TABLE tenants
    ADD COLUMN version         BIGINT NOT NULL DEFAULT 1,
    ADD COLUMN version_counter BIGINT NOT NULL DEFAULT 1;
ALTER TABLE applications ADD COLUMN version BIGINT NOT NULL DEFAULT 1;

-- The id names one creation of an API key: a key that is deleted and created again under its name has another one.
ALTER TABLE api_keys
    ADD COLUMN id      BYTEA  NOT NULL DEFAULT uuid_send(gen_random_uuid()),
    ADD COLUMN version BIGINT NOT NULL DEFAULT 1;
CREATE UNIQUE INDEX api_keys_id ON api_keys (id);
