-- +goose Up

CREATE TABLE schema_compatibility (
    one           INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    oldest_reader INTEGER NOT NULL
) STRICT;
INSERT INTO schema_compatibility (one, oldest_reader) VALUES (1, 1);

CREATE TABLE tenants (
    id          TEXT    NOT NULL PRIMARY KEY,
    name        TEXT    NOT NULL,
    issuer      TEXT    NOT NULL,
    settings    TEXT    NOT NULL,
    epoch       INTEGER NOT NULL,
    longest_ttl INTEGER NOT NULL,
    deleted_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX tenants_issuer ON tenants (issuer) WHERE issuer <> '';

-- A row exists only while its tenant does. The columns from active on are the effective policy: the parts that
-- statements compare, and the whole as one text.
CREATE TABLE applications (
    tenant_id              TEXT    NOT NULL,
    id                     TEXT    NOT NULL,
    name                   TEXT    NOT NULL,
    settings               TEXT    NOT NULL,
    active                 INTEGER NOT NULL,
    require_authentication INTEGER NOT NULL,
    access_token_ttl       INTEGER NOT NULL,
    usage_policy           TEXT    NOT NULL,
    grace_period           INTEGER NOT NULL,
    slide_window           INTEGER NOT NULL,
    slide_maximum          INTEGER NOT NULL,
    policy                 TEXT    NOT NULL,
    PRIMARY KEY (tenant_id, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE refresh_tokens (
    issued_at           INTEGER NOT NULL,
    issued_epoch        INTEGER NOT NULL,
    ordinal             INTEGER NOT NULL,
    recovery_paid_until INTEGER NOT NULL,
    revoked_at          INTEGER NOT NULL,
    generation          INTEGER NOT NULL,
    rotated_at          INTEGER NOT NULL,
    last_used_at        INTEGER NOT NULL,
    expires_at          INTEGER NOT NULL,
    recovered_at        INTEGER NOT NULL,
    client_address      TEXT    NOT NULL,
    id                  BLOB    NOT NULL PRIMARY KEY,
    tenant_id           TEXT    NOT NULL,
    application_id      TEXT    NOT NULL,
    user_id             TEXT    NOT NULL,
    binding             BLOB    NOT NULL,
    revoked_reason      TEXT    NOT NULL,
    roles               TEXT    NOT NULL,
    scopes              TEXT    NOT NULL,
    claims              TEXT    NOT NULL,
    device_name         TEXT    NOT NULL,
    device_type         TEXT    NOT NULL,
    device_description  TEXT    NOT NULL,
    data                TEXT    NOT NULL
) STRICT;
CREATE INDEX refresh_tokens_user ON refresh_tokens (tenant_id, user_id, id);
-- For the limit of a user's refresh tokens in an application. It does not contain revoked ones, nor those that had
-- ended otherwise when a limit was last applied.
CREATE INDEX refresh_tokens_ordinal ON refresh_tokens (tenant_id, application_id, user_id, ordinal)
    WHERE revoked_at = 0 AND ordinal > 0;

CREATE TABLE marks (
    tenant_id      TEXT    NOT NULL,
    application_id TEXT    NOT NULL, -- '' for every application
    user_id        TEXT    NOT NULL, -- '' for every user
    epoch          INTEGER NOT NULL,
    revoked_at     INTEGER NOT NULL,
    reason         TEXT    NOT NULL,
    keep_until     INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, application_id, user_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE api_keys (
    name        TEXT    NOT NULL PRIMARY KEY,
    hash        BLOB    NOT NULL UNIQUE,
    tenant_id   TEXT    NOT NULL, -- '' for every tenant
    permissions TEXT    NOT NULL,
    expires_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE keys (
    kind       TEXT    NOT NULL,
    tenant_id  TEXT    NOT NULL,
    algorithm  TEXT    NOT NULL,
    number     INTEGER NOT NULL,
    id         TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    starts_at  INTEGER NOT NULL,
    retired_at INTEGER NOT NULL,
    sealed     BLOB    NOT NULL,
    PRIMARY KEY (kind, tenant_id, algorithm, number)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX keys_id ON keys (id) WHERE id <> '';

-- The process that purges, the end of its lease, and the position of its pass. The first step inserts the row.
CREATE TABLE janitor (
    one               INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    holder            TEXT    NOT NULL,
    lease_until       INTEGER NOT NULL, -- 0: the lease is free
    stage             INTEGER NOT NULL, -- 0: refresh tokens, 1: marks, 2: tenants
    after_token       BLOB    NOT NULL, -- the last one that was looked at, as are the next three; zeros for none
    after_tenant      TEXT    NOT NULL,
    after_application TEXT    NOT NULL,
    after_user        TEXT    NOT NULL,
    ended_at          INTEGER NOT NULL  -- of the last pass; 0: none
) STRICT;
