-- +goose NO TRANSACTION
-- +goose Up

-- For the lists of a tenant and of an application, newest first. Ids grow, so a new entry goes to the end of its
-- tenant's or application's. Nothing that they are made of ever changes.
--
-- They stand on expressions, which only the lists compare. All statements are planned once, for every tenant, and often
-- while the table is new: of two indexes that begin with the tenant PostgreSQL then takes either, and a login would
-- read all refresh tokens of its application. A tenant's id has no slash.
--
-- Making an index of many million rows takes minutes. CONCURRENTLY, exchanges go on meanwhile. If it is interrupted it
-- leaves an index that is not valid, so each is first dropped, if it is there.
DROP INDEX CONCURRENTLY IF EXISTS refresh_tokens_tenant;
CREATE INDEX CONCURRENTLY refresh_tokens_tenant ON refresh_tokens ((tenant_id || '/'), id);
DROP INDEX CONCURRENTLY IF EXISTS refresh_tokens_application;
CREATE INDEX CONCURRENTLY refresh_tokens_application ON refresh_tokens ((tenant_id || '/' || application_id), id);

-- Without statistics PostgreSQL assumes two hundred tenants, however many there are. Where it saw that one has most rows
-- it would think of that one at every list: read by the primary key, through all of the store for the smallest tenant,
-- or sort all that a tenant has for one page.
ALTER INDEX refresh_tokens_tenant ALTER COLUMN 1 SET STATISTICS 0;
ALTER INDEX refresh_tokens_application ALTER COLUMN 1 SET STATISTICS 0;
