-- +goose NO TRANSACTION
-- +goose Up

-- For the lists of a tenant and of an application, newest first. Ids grow, so a new entry goes to the end of its
-- tenant's or application's. The indexed columns never change.
--
-- They index expressions that only the lists compare. All statements are planned once, for every tenant, and often
-- while the table is new. Of two indexes that begin with the tenant, PostgreSQL then takes either, and a login would
-- read all refresh tokens of its application. The id of a tenant contains no slash.
--
-- Creating an index on many million rows takes minutes. With CONCURRENTLY, exchanges continue meanwhile. An
-- interruption leaves an invalid index, so an existing one is dropped first.
DROP INDEX CONCURRENTLY IF EXISTS refresh_tokens_tenant;
CREATE INDEX CONCURRENTLY refresh_tokens_tenant ON refresh_tokens ((tenant_id || '/'), id);
DROP INDEX CONCURRENTLY IF EXISTS refresh_tokens_application;
CREATE INDEX CONCURRENTLY refresh_tokens_application ON refresh_tokens ((tenant_id || '/' || application_id), id);

-- Without statistics PostgreSQL assumes two hundred tenants, however many there are. With statistics that one tenant
-- has most rows, it would plan each list for that tenant: read the whole table by the primary key for the smallest
-- tenant, or sort all rows of a tenant for one page.
ALTER INDEX refresh_tokens_tenant ALTER COLUMN 1 SET STATISTICS 0;
ALTER INDEX refresh_tokens_application ALTER COLUMN 1 SET STATISTICS 0;
