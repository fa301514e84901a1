-- +goose Up

-- Who purges, until when, and where the pass has got to. A row is made by the first step. An older program does without.
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
