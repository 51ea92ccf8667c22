-- A CDC stream: mixed single-row INSERT, UPDATE and DELETE events, each its own transaction, with streaming writes.
CREATE SCHEMA cdc;
SET search_path = cdc, public;
SHOW pg_lake_engine.streaming_writes;

CREATE TABLE target (id bigint NOT NULL, a int, name text, d double precision, ts timestamptz, amt numeric(12,2)) USING iceberg;
CREATE TABLE heap (LIKE target);
INSERT INTO heap SELECT i, i % 100, 'name ' || i, i / 4.0, timestamptz '2024-01-01 00:00Z' + i * interval '1 min', i / 100.0 FROM generate_series(1, 1000) i;
INSERT INTO target SELECT * FROM heap;

-- What a consumer of a replication stream sends.
INSERT INTO target VALUES (1001, 1, 'new', 0.5, '2024-06-01 12:00Z', 10.00);
UPDATE target SET name = 'changed' WHERE id = 1001;
UPDATE target SET a = 2, amt = amt + 0.01 WHERE id = 1001;
SELECT id, a, name, d, extract(epoch FROM ts)::bigint AS ts, amt FROM target WHERE id = 1001;
DELETE FROM target WHERE id = 1001;
SELECT * FROM target WHERE id = 1001;
DELETE FROM target WHERE id = 1001;
UPDATE target SET name = 'nobody' WHERE id = 1001;
INSERT INTO target VALUES (1001, 3, 'again', NULL, NULL, NULL);
UPDATE target SET id = 1002 WHERE id = 1001 RETURNING *;
DELETE FROM target WHERE id = 1002 RETURNING id, name;

-- The key that an update names is gone, or comes back.
BEGIN;
DELETE FROM target WHERE id = 7;
INSERT INTO target SELECT 7, a, 'reborn', d, ts, amt FROM heap WHERE id = 7;
UPDATE target SET a = a + 1 WHERE id = 7;
COMMIT;
UPDATE heap SET name = 'reborn', a = a + 1 WHERE id = 7;
SELECT id, a, name FROM target WHERE id = 7;

-- The stream: on both tables, COMMIT after each event.
CREATE PROCEDURE play(first int, last int) LANGUAGE plpgsql AS $$
DECLARE
  changed int;
  expected int;
BEGIN
  FOR i IN first .. last LOOP
    IF i % 3 = 0 THEN
      INSERT INTO cdc.heap VALUES (10000 + i, i, 'event ' || i, i / 3.0, '2024-02-29 00:00Z', i);
      INSERT INTO cdc.target VALUES (10000 + i, i, 'event ' || i, i / 3.0, '2024-02-29 00:00Z', i);
    ELSIF i % 3 = 1 THEN
      UPDATE cdc.heap SET a = a + 1, name = name || '.', amt = amt * 2 WHERE id = i * 37 % 1000;
      GET DIAGNOSTICS expected = ROW_COUNT;
      UPDATE cdc.target SET a = a + 1, name = name || '.', amt = amt * 2 WHERE id = i * 37 % 1000;
      GET DIAGNOSTICS changed = ROW_COUNT;
    ELSE
      DELETE FROM cdc.heap WHERE id = i * 53 % 1000;
      GET DIAGNOSTICS expected = ROW_COUNT;
      DELETE FROM cdc.target WHERE id = i * 53 % 1000;
      GET DIAGNOSTICS changed = ROW_COUNT;
    END IF;
    IF changed <> expected THEN RAISE 'event %: % rows instead of %', i, changed, expected; END IF;
    COMMIT;
  END LOOP;
END $$;

CREATE VIEW difference AS
  SELECT 'only in target' AS what, x.* FROM (TABLE target EXCEPT ALL TABLE heap) x
  UNION ALL
  SELECT 'only in heap', y.* FROM (TABLE heap EXCEPT ALL TABLE target) y;

CALL play(1, 100);
SELECT count(*), sum(id), sum(amt) FROM target;
SELECT * FROM difference;
CALL play(101, 200);
SELECT count(*), sum(id), sum(amt) FROM target;
SELECT * FROM difference;

-- Events that found no row made no snapshot; the others one each.
SELECT count(*) FILTER (WHERE content = 0) > 50 AS data_files, count(*) FILTER (WHERE content = 1) > 0 AS delete_files,
       count(*) = count(DISTINCT path) AS once FROM lake_table.files WHERE table_name = 'target'::regclass;
SELECT sum(row_count * (1 - 2 * content)) = (SELECT count(*) FROM target) AS counted FROM lake_table.files WHERE table_name = 'target'::regclass;

-- Several events in a transaction, and one that is taken back.
BEGIN;
INSERT INTO target VALUES (20001, 1, 'batch', NULL, NULL, 1);
UPDATE target SET a = a + 1 WHERE id = 20001;
SAVEPOINT event;
DELETE FROM target WHERE id = 20001;
ROLLBACK TO event;
INSERT INTO target VALUES (20002, 2, 'batch', NULL, NULL, 2);
DELETE FROM target WHERE id = 20002;
COMMIT;
SELECT id, a, name FROM target WHERE name = 'batch';
BEGIN;
DELETE FROM target;
SELECT count(*) FROM target;
ROLLBACK;
DELETE FROM target WHERE id = 20001;
SELECT * FROM difference;

-- The same after compaction.
VACUUM target;
SELECT count(*) FILTER (WHERE content = 0) < 5 AS few_data_files FROM lake_table.files WHERE table_name = 'target'::regclass;
SELECT * FROM difference;
CALL play(201, 215);
SELECT * FROM difference;

\set VERBOSITY terse
SET client_min_messages = warning;
DROP SCHEMA cdc CASCADE;
