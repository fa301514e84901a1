-- +goose Up

-- What an application is as a client of OAuth 2, as JSON, and the endpoints of a tenant's own login; '' for nothing.
-- The secrets in it are hashes.
ALTER TABLE applications ADD COLUMN client TEXT NOT NULL DEFAULT '';
ALTER TABLE tenants ADD COLUMN login TEXT NOT NULL DEFAULT '';
