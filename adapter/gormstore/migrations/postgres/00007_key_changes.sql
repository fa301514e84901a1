-- +goose Up

-- Requests wait behind a lock on these tables, so this step gives up before the requests do. The defaults are
-- constants: no row is written, and a program that does not know the columns continues to write.
SET LOCAL lock_timeout = '500ms';

-- Of the last complete pass of the janitor: when it began, and the smallest rotated_at of the refresh tokens that it
-- saw active. 0 stands for none.
ALTER TABLE jobs
    ADD COLUMN began_at        BIGINT NOT NULL DEFAULT 0,
    ADD COLUMN oldest_rotation BIGINT NOT NULL DEFAULT 0;

-- What an operator knows and changes of a key. unused_at, of a token key, is when it was known that the current token
-- string of no active refresh token was of it: 0 stands for not known.
-- revoked_position is the position of the fact that a signing key is revoked: 0 stands for none.
--
-- sealed_by is the id of the master key that sealed the key, or '' if it is unknown. It holds only while
-- sealed_revision is the revision of the row: a program that does not know it seals a key again, raises the revision,
-- and leaves both unchanged.
ALTER TABLE keys
    ADD COLUMN name             TEXT COLLATE "C" NOT NULL DEFAULT '',
    ADD COLUMN known_at         BIGINT           NOT NULL DEFAULT 0,
    ADD COLUMN unused_at        BIGINT           NOT NULL DEFAULT 0,
    ADD COLUMN revoked_at       BIGINT           NOT NULL DEFAULT 0,
    ADD COLUMN revoked_position BIGINT           NOT NULL DEFAULT 0,
    ADD COLUMN sealed_by        TEXT COLLATE "C" NOT NULL DEFAULT '',
    ADD COLUMN sealed_revision  BIGINT           NOT NULL DEFAULT 0;
CREATE INDEX keys_revoked ON keys (revoked_position) WHERE kind = 'signing' AND revoked_at <> 0;

-- The numbers of the keys that made the two hashes. There was one until now.
ALTER TABLE api_keys
    ADD COLUMN hash_key          BIGINT NOT NULL DEFAULT 1,
    ADD COLUMN previous_hash_key BIGINT NOT NULL DEFAULT 1;
