-- +goose NO TRANSACTION
-- +goose Up

-- For the newest refresh tokens of a user in an application: the ordinal of a login, and the limit. It replaces an
-- index on tenant, application, user and ordinal.
--
-- It indexes an expression that only these statements compare, as the lists do: of two indexes that begin with the
-- tenant PostgreSQL takes either, and a login would read all that the user ever had. The id of a tenant contains no
-- blank. The former index was chosen by a comparison of rows, which PostgreSQL does not use to end a scan: the first
-- login of a user read the entries of all users of the application whose ids are smaller.
--
-- Creating an index on many million rows takes minutes. With CONCURRENTLY, exchanges continue meanwhile. An
-- interruption leaves an invalid index, so an existing one is dropped first.
DROP INDEX CONCURRENTLY IF EXISTS refresh_tokens_newest;
CREATE INDEX CONCURRENTLY refresh_tokens_newest
    ON refresh_tokens ((tenant_id || ' ' || application_id), user_id, ordinal) WHERE revoked_at = 0 AND ordinal > 0;
ALTER INDEX refresh_tokens_newest ALTER COLUMN 1 SET STATISTICS 0;
DROP INDEX CONCURRENTLY IF EXISTS refresh_tokens_ordinal;
