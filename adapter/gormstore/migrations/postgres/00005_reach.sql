-- +goose NO TRANSACTION
-- +goose Up

-- Facts for resource servers. A refresh token that is revoked itself is a fact. A mark with its epoch is one, too. A
-- fact gets its position, feed, some time after it was committed: 0 stands for none. A mark that is raised needs
-- another one, so stamped_epoch is the epoch that has it.
--
-- Every exchange waits behind a lock on its table. So each step gives up before the exchanges do. The statements of a
-- step are sent as one, and PostgreSQL runs them in one transaction.
-- +goose StatementBegin
SET LOCAL lock_timeout = '500ms';
ALTER TABLE refresh_tokens ADD COLUMN IF NOT EXISTS feed BIGINT NOT NULL DEFAULT 0;
-- +goose StatementEnd

-- The mark does not cover the access tokens of except_id while except_epoch is its epoch. So a program that does not
-- know the exception ends it by raising the mark.
-- +goose StatementBegin
SET LOCAL lock_timeout = '500ms';
ALTER TABLE marks
    ADD COLUMN IF NOT EXISTS feed          BIGINT NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS stamped_epoch BIGINT NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS except_id     BYTEA  NOT NULL DEFAULT '',
    ADD COLUMN IF NOT EXISTS except_epoch  BIGINT NOT NULL DEFAULT 0;
-- +goose StatementEnd

-- +goose StatementBegin
SET LOCAL lock_timeout = '500ms';
ALTER TABLE tenants ADD COLUMN IF NOT EXISTS longest_access_ttl BIGINT NOT NULL DEFAULT 0;
UPDATE tenants SET longest_access_ttl = a.longest
FROM (SELECT tenant_id, max(access_token_ttl) AS longest FROM applications GROUP BY tenant_id) AS a
WHERE a.tenant_id = tenants.id AND tenants.longest_access_ttl < a.longest;
-- +goose StatementEnd

-- An earlier revocation gets its own time as its position. There is no head yet, so no process can have read beyond it:
-- that is why revocation_feed comes last, and why nothing is written here once it exists. A revocation that comes
-- meanwhile stays without a position.
--
-- The loops read each table once, and commit after every few hundred pages. So no revocation of the same scope waits
-- for long, and vacuum can remove what they leave behind.
-- +goose StatementBegin
DO $$
DECLARE
    size   bigint := pg_relation_size('refresh_tokens') / current_setting('block_size')::bigint;
    latest bigint := EXTRACT(EPOCH FROM clock_timestamp()) * 1000000;
BEGIN
    FOR page IN 0 .. size BY 256 LOOP
        EXIT WHEN to_regclass('revocation_feed') IS NOT NULL;
        UPDATE refresh_tokens SET feed = GREATEST(1, LEAST(revoked_at, latest))
        WHERE ctid >= format('(%s,0)', page)::tid AND ctid < format('(%s,0)', page + 256)::tid
          AND revoked_at <> 0 AND feed = 0;
        COMMIT;
    END LOOP;
END $$;
-- +goose StatementEnd
-- +goose StatementBegin
DO $$
DECLARE
    size   bigint := pg_relation_size('marks') / current_setting('block_size')::bigint;
    latest bigint := EXTRACT(EPOCH FROM clock_timestamp()) * 1000000;
BEGIN
    FOR page IN 0 .. size BY 16 LOOP
        EXIT WHEN to_regclass('revocation_feed') IS NOT NULL;
        UPDATE marks SET feed = GREATEST(1, LEAST(revoked_at, latest)), stamped_epoch = epoch
        WHERE ctid >= format('(%s,0)', page)::tid AND ctid < format('(%s,0)', page + 16)::tid
          AND epoch <> stamped_epoch;
        COMMIT;
    END LOOP;
END $$;
-- +goose StatementEnd

-- An exchange changes none of these columns. With CONCURRENTLY, exchanges continue meanwhile. An interruption leaves an
-- invalid index, so an existing one is dropped first.
DROP INDEX CONCURRENTLY IF EXISTS refresh_tokens_feed;
CREATE INDEX CONCURRENTLY refresh_tokens_feed ON refresh_tokens (feed) WHERE revoked_at <> 0;
DROP INDEX CONCURRENTLY IF EXISTS marks_feed;
CREATE INDEX CONCURRENTLY marks_feed ON marks (feed) WHERE feed <> 0;
DROP INDEX CONCURRENTLY IF EXISTS marks_unstamped;
CREATE INDEX CONCURRENTLY marks_unstamped ON marks (tenant_id) WHERE epoch <> stamped_epoch;

-- The processes that read the feed, each with the time of its last write. See port.Reach.
CREATE TABLE IF NOT EXISTS feed_readers (
    holder TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    beat   BIGINT           NOT NULL
) WITH (fillfactor = 10);

-- The last position. Its row is locked until a stamp is committed, so positions are given one stamp after another.
-- +goose StatementBegin
CREATE TABLE IF NOT EXISTS revocation_feed (
    one      SMALLINT NOT NULL PRIMARY KEY CHECK (one = 1),
    position BIGINT   NOT NULL
) WITH (fillfactor = 10);
INSERT INTO revocation_feed (one, position)
SELECT 1, COALESCE(GREATEST(
    (SELECT max(feed) FROM refresh_tokens WHERE revoked_at <> 0), (SELECT max(feed) FROM marks WHERE feed <> 0)), 0)
ON CONFLICT (one) DO NOTHING;
-- +goose StatementEnd
