-- +goose Up

-- Keys that were used once, such as those of client assertions, until the instant from which they may be used again.
-- See port.Once. The janitor deletes them after it.
CREATE TABLE used_keys (
    key   BLOB    NOT NULL PRIMARY KEY,
    until INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX used_keys_until ON used_keys (until);
