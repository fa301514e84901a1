-- +goose Up

-- For the lists of a tenant and of an application, newest first. Ids grow, so a new entry goes to the end of its tenant's
-- or application's. No column of them ever changes.
CREATE INDEX refresh_tokens_tenant ON refresh_tokens (tenant_id, id);
CREATE INDEX refresh_tokens_application ON refresh_tokens (tenant_id, application_id, id);

-- Statements are planned once, for all tenants. Where one tenant has most of the rows, the average says that its list is
-- read as fast by the primary key, and that of the smallest tenant would read through the rows of all others. So let
-- PostgreSQL assume a hundred rows a tenant.
ALTER TABLE refresh_tokens ALTER COLUMN tenant_id SET (n_distinct = -0.01);
-- That counts from the next ANALYZE on. An empty table is better off without one, see the first migration.
-- +goose StatementBegin
DO $$
BEGIN
    IF EXISTS (SELECT 1 FROM refresh_tokens) THEN
        ANALYZE refresh_tokens;
    END IF;
END
$$;
-- +goose StatementEnd
