-- +goose Up

-- The whole policy becomes one column; as columns remain what statements compare. A program of before needs those that go.
ALTER TABLE applications ADD COLUMN policy TEXT NOT NULL DEFAULT '';
UPDATE applications SET policy = json_object(
    'active', json(iif(active = 1, 'true', 'false')), 'requireAuthentication', json(iif(require_authentication = 1, 'true', 'false')),
    'cookieOnly', json(iif(cookie_only = 1, 'true', 'false')), 'cookieDomain', cookie_domain, 'issuer', issuer,
    'accessTokenTtl', access_token_ttl * 1000, 'algorithm', algorithm, -- durations are nanoseconds in here
    'expiration', expiration_policy, 'ttl', ttl * 1000, 'maximumTtl', maximum_ttl * 1000,
    'usage', usage_policy, 'gracePeriod', grace_period * 1000,
    'recoveryBurst', recovery_burst, 'recoveryInterval', recovery_interval,
    'revokeOnReplay', json(iif(revoke_on_replay = 1, 'true', 'false')), 'maximumActiveTokens', maximum_active_tokens);
ALTER TABLE applications DROP COLUMN cookie_only;
ALTER TABLE applications DROP COLUMN cookie_domain;
ALTER TABLE applications DROP COLUMN issuer;
ALTER TABLE applications DROP COLUMN algorithm;
ALTER TABLE applications DROP COLUMN expiration_policy;
ALTER TABLE applications DROP COLUMN ttl;
ALTER TABLE applications DROP COLUMN maximum_ttl;
ALTER TABLE applications DROP COLUMN recovery_burst;
ALTER TABLE applications DROP COLUMN recovery_interval;
ALTER TABLE applications DROP COLUMN revoke_on_replay;
ALTER TABLE applications DROP COLUMN maximum_active_tokens;
UPDATE schema_compatibility SET oldest_reader = 3;
