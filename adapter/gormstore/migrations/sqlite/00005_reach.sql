-- +goose Up

-- Facts for resource servers. A refresh token that is revoked itself is a fact. A mark with its epoch is one, too. A
-- fact gets its position, feed, some time after it was committed: 0 stands for none. A mark that is raised needs
-- another one, so stamped_epoch is the epoch that has it.
ALTER TABLE refresh_tokens ADD COLUMN feed INTEGER NOT NULL DEFAULT 0;

-- The mark does not cover the access tokens of except_id while except_epoch is its epoch.
ALTER TABLE marks ADD COLUMN feed INTEGER NOT NULL DEFAULT 0;
ALTER TABLE marks ADD COLUMN stamped_epoch INTEGER NOT NULL DEFAULT 0;
ALTER TABLE marks ADD COLUMN except_id BLOB NOT NULL DEFAULT x'';
ALTER TABLE marks ADD COLUMN except_epoch INTEGER NOT NULL DEFAULT 0;

ALTER TABLE tenants ADD COLUMN longest_access_ttl INTEGER NOT NULL DEFAULT 0;
UPDATE tenants SET longest_access_ttl = COALESCE((
    SELECT max(a.access_token_ttl) FROM applications AS a WHERE a.tenant_id = tenants.id), 0);

-- An earlier revocation gets its own time as its position.
UPDATE refresh_tokens SET feed = max(1, min(revoked_at, unixepoch() * 1000000)) WHERE revoked_at <> 0;
UPDATE marks SET feed = max(1, min(revoked_at, unixepoch() * 1000000)), stamped_epoch = epoch;

CREATE INDEX refresh_tokens_feed ON refresh_tokens (feed) WHERE revoked_at <> 0;
CREATE INDEX marks_feed ON marks (feed) WHERE feed <> 0;
CREATE INDEX marks_unstamped ON marks (tenant_id) WHERE epoch <> stamped_epoch;

-- The last position.
CREATE TABLE revocation_feed (
    one      INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    position INTEGER NOT NULL
) STRICT;
INSERT INTO revocation_feed (one, position)
SELECT 1, max(COALESCE((SELECT max(feed) FROM refresh_tokens WHERE revoked_at <> 0), 0),
    COALESCE((SELECT max(feed) FROM marks WHERE feed <> 0), 0));
