-- +goose Up

-- Who purges, until when, and where the pass has got to. A row is made by the first step. An older program does without.
CREATE TABLE janitor (
    one               SMALLINT         NOT NULL PRIMARY KEY CHECK (one = 1),
    holder            TEXT COLLATE "C" NOT NULL,
    lease_until       BIGINT           NOT NULL, -- 0: the lease is free
    stage             SMALLINT         NOT NULL, -- 0: refresh tokens, 1: marks, 2: tenants
    after_token       BYTEA            NOT NULL, -- the last one that was looked at, as are the next three; zeros for none
    after_tenant      TEXT COLLATE "C" NOT NULL,
    after_application TEXT COLLATE "C" NOT NULL,
    after_user        TEXT COLLATE "C" NOT NULL,
    ended_at          BIGINT           NOT NULL  -- of the last pass; 0: none
) WITH (fillfactor = 50);
