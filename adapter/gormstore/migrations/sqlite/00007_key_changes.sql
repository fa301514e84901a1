-- +goose Up

-- A program that does not know these columns continues to write, by the defaults.

-- Of the last complete pass of the janitor: when it began, and the smallest rotated_at of the refresh tokens that it
-- saw active. 0 stands for none.
ALTER TABLE jobs ADD COLUMN began_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN oldest_rotation INTEGER NOT NULL DEFAULT 0;

-- What an operator knows and changes of a key. unused_at, of a token key, is when it was known that the current token
-- string of no active refresh token was of it: 0 stands for not known.
-- revoked_position is the position of the fact that a signing key is revoked: 0 stands for none.
--
-- sealed_by is the id of the master key that sealed the key, or '' if it is unknown. It holds only while
-- sealed_revision is the revision of the row: a program that does not know it seals a key again, raises the revision,
-- and leaves both unchanged.
ALTER TABLE keys ADD COLUMN name TEXT NOT NULL DEFAULT '';
ALTER TABLE keys ADD COLUMN known_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE keys ADD COLUMN unused_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE keys ADD COLUMN revoked_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE keys ADD COLUMN revoked_position INTEGER NOT NULL DEFAULT 0;
ALTER TABLE keys ADD COLUMN sealed_by TEXT NOT NULL DEFAULT '';
ALTER TABLE keys ADD COLUMN sealed_revision INTEGER NOT NULL DEFAULT 0;
CREATE INDEX keys_revoked ON keys (revoked_position) WHERE kind = 'signing' AND revoked_at <> 0;

-- The numbers of the keys that made the two hashes. There was one until now.
ALTER TABLE api_keys ADD COLUMN hash_key INTEGER NOT NULL DEFAULT 1;
ALTER TABLE api_keys ADD COLUMN previous_hash_key INTEGER NOT NULL DEFAULT 1;
