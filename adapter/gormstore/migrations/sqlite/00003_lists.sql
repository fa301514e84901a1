-- +goose Up

-- For the lists of a tenant and of an application, newest first. Ids grow, so a new entry goes to the end of its
-- tenant's or application's. The indexed columns never change.
CREATE INDEX refresh_tokens_tenant ON refresh_tokens (tenant_id, id);
CREATE INDEX refresh_tokens_application ON refresh_tokens (tenant_id, application_id, id);
