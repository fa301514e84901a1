-- +goose Up

-- Requests wait behind a lock on these tables, so this step gives up before the requests do. The defaults are
-- constants: no row is written, and a program that does not know the columns continues to write.
SET LOCAL lock_timeout = '500ms';

-- What an application is as a client of OAuth 2, as JSON, and the endpoints of a tenant's own login; '' for nothing.
-- The secrets in it are hashes.
ALTER TABLE applications ADD COLUMN client TEXT NOT NULL DEFAULT '';
ALTER TABLE tenants ADD COLUMN login TEXT NOT NULL DEFAULT '';
