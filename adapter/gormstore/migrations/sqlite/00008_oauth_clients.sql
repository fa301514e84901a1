-- +goose Up

-- What an application is as a client of OAuth 2, as JSON, and the endpoints of a tenant's own login; '' for nothing. The
-- secrets in it are hashes.
ALTER TABLE applications ADD COLUMN client TEXT NOT NULL DEFAULT '';
ALTER TABLE tenants ADD COLUMN login TEXT NOT NULL DEFAULT '';

-- Keys that are used once, each until an instant in microseconds since 1970.
CREATE TABLE used_once (
    key        BLOB    PRIMARY KEY,
    used_until INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX used_once_until ON used_once (used_until);
