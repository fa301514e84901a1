-- +goose Up

-- For the newest refresh tokens of a user in an application: the ordinal of a login, and the limit. It replaces an
-- index on tenant, application, user and ordinal, so that one statement serves both engines. The id of a tenant
-- contains no blank.
CREATE INDEX refresh_tokens_newest
    ON refresh_tokens ((tenant_id || ' ' || application_id), user_id, ordinal) WHERE revoked_at = 0 AND ordinal > 0;
DROP INDEX refresh_tokens_ordinal;
