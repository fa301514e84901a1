-- +goose Up

-- The newest revision of a key. A write of a key locks this row until it is committed. So revisions are committed in
-- their order, and a reader that has seen one has seen all before it.
CREATE TABLE key_ring (
    one      SMALLINT NOT NULL PRIMARY KEY CHECK (one = 1),
    revision BIGINT   NOT NULL
) WITH (fillfactor = 50);
INSERT INTO key_ring (one, revision) SELECT 1, count(*) FROM keys;

ALTER TABLE keys ADD COLUMN revision BIGINT NOT NULL DEFAULT 0;
UPDATE keys SET revision = numbered.revision
FROM (
    SELECT kind, tenant_id, algorithm, number,
        row_number() OVER (ORDER BY created_at, kind, tenant_id, algorithm, number) AS revision
    FROM keys
) AS numbered
WHERE (keys.kind, keys.tenant_id, keys.algorithm, keys.number)
    = (numbered.kind, numbered.tenant_id, numbered.algorithm, numbered.number);
ALTER TABLE keys ALTER COLUMN revision DROP DEFAULT;
CREATE UNIQUE INDEX keys_revision ON keys (revision);
CREATE INDEX keys_tenant ON keys (tenant_id);

-- Other programs would not see a key that a program without revisions writes.
UPDATE schema_compatibility SET oldest_reader = 2;
