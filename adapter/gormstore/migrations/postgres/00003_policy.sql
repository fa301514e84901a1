-- +goose Up

-- The whole policy becomes one column; as columns remain what statements compare. A program of before needs those that go.
ALTER TABLE applications ADD COLUMN policy TEXT COLLATE "C" NOT NULL DEFAULT '';
UPDATE applications SET policy = json_build_object(
    'active', active = 1, 'requireAuthentication', require_authentication = 1,
    'cookieOnly', cookie_only = 1, 'cookieDomain', cookie_domain, 'issuer', issuer,
    'accessTokenTtl', access_token_ttl * 1000, 'algorithm', algorithm, -- durations are nanoseconds in here
    'expiration', expiration_policy, 'ttl', ttl * 1000, 'maximumTtl', maximum_ttl * 1000,
    'usage', usage_policy, 'gracePeriod', grace_period * 1000,
    'recoveryBurst', recovery_burst, 'recoveryInterval', recovery_interval,
    'revokeOnReplay', revoke_on_replay = 1, 'maximumActiveTokens', maximum_active_tokens)::text;
ALTER TABLE applications
    ALTER COLUMN policy DROP DEFAULT,
    DROP COLUMN cookie_only, DROP COLUMN cookie_domain, DROP COLUMN issuer, DROP COLUMN algorithm,
    DROP COLUMN expiration_policy, DROP COLUMN ttl, DROP COLUMN maximum_ttl,
    DROP COLUMN recovery_burst, DROP COLUMN recovery_interval,
    DROP COLUMN revoke_on_replay, DROP COLUMN maximum_active_tokens;
UPDATE schema_compatibility SET oldest_reader = 3;
