-- +goose Up

CREATE TABLE schema_compatibility (
    one           SMALLINT         NOT NULL PRIMARY KEY CHECK (one = 1),
    oldest_reader BIGINT           NOT NULL
);
INSERT INTO schema_compatibility (one, oldest_reader) VALUES (1, 1);

CREATE TABLE tenants (
    id          TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    name        TEXT COLLATE "C" NOT NULL,
    issuer      TEXT COLLATE "C" NOT NULL,
    settings    TEXT COLLATE "C" NOT NULL,
    epoch       BIGINT           NOT NULL,
    longest_ttl BIGINT           NOT NULL,
    deleted_at  BIGINT           NOT NULL
) WITH (autovacuum_analyze_threshold = 20, autovacuum_analyze_scale_factor = 0.1);
CREATE UNIQUE INDEX tenants_issuer ON tenants (issuer) WHERE issuer <> '';

-- A row exists only while its tenant does. The columns from active on are the effective policy: the parts that
-- statements compare, and the whole as one text.
CREATE TABLE applications (
    tenant_id              TEXT COLLATE "C" NOT NULL,
    id                     TEXT COLLATE "C" NOT NULL,
    name                   TEXT COLLATE "C" NOT NULL,
    settings               TEXT COLLATE "C" NOT NULL,
    active                 SMALLINT         NOT NULL,
    require_authentication SMALLINT         NOT NULL,
    access_token_ttl       BIGINT           NOT NULL,
    usage_policy           TEXT COLLATE "C" NOT NULL,
    grace_period           BIGINT           NOT NULL,
    slide_window           BIGINT           NOT NULL,
    slide_maximum          BIGINT           NOT NULL,
    policy                 TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (tenant_id, id)
) WITH (autovacuum_analyze_threshold = 20, autovacuum_analyze_scale_factor = 0.1);

-- Columns of a fixed length come first: after a text, PostgreSQL would pad them. Columns that an exchange changes are
-- adjacent, because the WAL record of a HOT update spans the first to the last byte that changed.
CREATE TABLE refresh_tokens (
    issued_at           BIGINT           NOT NULL,
    issued_epoch        BIGINT           NOT NULL,
    ordinal             BIGINT           NOT NULL,
    recovery_paid_until BIGINT           NOT NULL,
    revoked_at          BIGINT           NOT NULL,
    generation          BIGINT           NOT NULL,
    rotated_at          BIGINT           NOT NULL,
    last_used_at        BIGINT           NOT NULL,
    expires_at          BIGINT           NOT NULL,
    recovered_at        BIGINT           NOT NULL,
    client_address      TEXT COLLATE "C" NOT NULL,
    id                  BYTEA            NOT NULL PRIMARY KEY,
    tenant_id           TEXT COLLATE "C" NOT NULL,
    application_id      TEXT COLLATE "C" NOT NULL,
    user_id             TEXT COLLATE "C" NOT NULL,
    binding             BYTEA            NOT NULL,
    revoked_reason      TEXT COLLATE "C" NOT NULL,
    roles               TEXT COLLATE "C" NOT NULL,
    scopes              TEXT COLLATE "C" NOT NULL,
    claims              TEXT COLLATE "C" NOT NULL,
    device_name         TEXT COLLATE "C" NOT NULL,
    device_type         TEXT COLLATE "C" NOT NULL,
    device_description  TEXT COLLATE "C" NOT NULL,
    data                TEXT COLLATE "C" NOT NULL
) WITH (
    -- Room for the next version of a row on its own page: an exchange is then a HOT update, which touches no index.
    fillfactor = 90,
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_analyze_scale_factor = 0.02,
    autovacuum_vacuum_cost_delay = 0
);
-- Never index a column that an exchange changes.
CREATE INDEX refresh_tokens_user ON refresh_tokens (tenant_id, user_id, id);
-- For the limit of a user's refresh tokens in an application. It does not contain revoked ones, nor those that had
-- ended otherwise when a limit was last applied.
CREATE INDEX refresh_tokens_ordinal ON refresh_tokens (tenant_id, application_id, user_id, ordinal)
    WHERE revoked_at = 0 AND ordinal > 0;

CREATE TABLE marks (
    tenant_id      TEXT COLLATE "C" NOT NULL,
    application_id TEXT COLLATE "C" NOT NULL, -- '' for every application
    user_id        TEXT COLLATE "C" NOT NULL, -- '' for every user
    epoch          BIGINT           NOT NULL,
    revoked_at     BIGINT           NOT NULL,
    reason         TEXT COLLATE "C" NOT NULL,
    keep_until     BIGINT           NOT NULL,
    PRIMARY KEY (tenant_id, application_id, user_id)
) WITH (autovacuum_analyze_threshold = 20, autovacuum_analyze_scale_factor = 0.1);

CREATE TABLE api_keys (
    name        TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    hash        BYTEA            NOT NULL UNIQUE,
    tenant_id   TEXT COLLATE "C" NOT NULL, -- '' for every tenant
    permissions TEXT COLLATE "C" NOT NULL,
    expires_at  BIGINT           NOT NULL
) WITH (autovacuum_analyze_threshold = 20, autovacuum_analyze_scale_factor = 0.1);

CREATE TABLE keys (
    kind       TEXT COLLATE "C" NOT NULL,
    tenant_id  TEXT COLLATE "C" NOT NULL,
    algorithm  TEXT COLLATE "C" NOT NULL,
    number     BIGINT           NOT NULL,
    id         TEXT COLLATE "C" NOT NULL,
    created_at BIGINT           NOT NULL,
    starts_at  BIGINT           NOT NULL,
    retired_at BIGINT           NOT NULL,
    sealed     BYTEA            NOT NULL,
    PRIMARY KEY (kind, tenant_id, algorithm, number)
) WITH (autovacuum_analyze_threshold = 20, autovacuum_analyze_scale_factor = 0.1);
CREATE UNIQUE INDEX keys_id ON keys (id) WHERE id <> '';

-- The process that purges, the end of its lease, and the position of its pass. The first step inserts the row.
CREATE TABLE janitor (
    one               SMALLINT         NOT NULL PRIMARY KEY CHECK (one = 1),
    holder            TEXT COLLATE "C" NOT NULL,
    lease_until       BIGINT           NOT NULL, -- 0: the lease is free
    stage             SMALLINT         NOT NULL, -- 0: refresh tokens, 1: marks, 2: tenants
    after_token       BYTEA            NOT NULL, -- the last one looked at, as are the next three; zeros for none
    after_tenant      TEXT COLLATE "C" NOT NULL,
    after_application TEXT COLLATE "C" NOT NULL,
    after_user        TEXT COLLATE "C" NOT NULL,
    ended_at          BIGINT           NOT NULL  -- of the last pass; 0: none
) WITH (fillfactor = 50);

-- No ANALYZE here. For a table without statistics PostgreSQL assumes ten pages, and plans to use indexes. For a table
-- that was analysed while empty it assumes nothing, and every index looks as good as another.
