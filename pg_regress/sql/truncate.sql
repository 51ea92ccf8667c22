-- TRUNCATE of lake tables: alone, with others, in transactions, with sequences.
CREATE SCHEMA tr;
SET search_path = tr, public;
CREATE TABLE a (id int, note text) USING iceberg;
CREATE TABLE b (id int) USING iceberg;
CREATE TABLE h (id int PRIMARY KEY);
INSERT INTO a SELECT i, 'a' FROM generate_series(1, 10) i;
INSERT INTO a SELECT i, 'a' FROM generate_series(11, 20) i;
INSERT INTO b SELECT generate_series(1, 5);
INSERT INTO h SELECT generate_series(1, 5);

CREATE FUNCTION state(t regclass, OUT snapshots bigint, OUT live_files bigint, OUT catalog_files bigint) LANGUAGE sql AS $$
  SELECT (SELECT count(*) FROM lake_iceberg.snapshots(metadata_location)),
         (SELECT count(*) FROM lake_iceberg.files(metadata_location)),
         (SELECT count(*) FROM lake_table.files WHERE table_name = t)
    FROM lake_iceberg.tables_internal WHERE table_name = t
$$;

SELECT * FROM state('a');
TRUNCATE a;
SELECT count(*) FROM a;
SELECT * FROM state('a');
-- Nothing there: nothing to do.
TRUNCATE TABLE ONLY a;
SELECT * FROM state('a');

-- Taken back.
INSERT INTO a VALUES (1, 'one'), (2, 'two');
BEGIN;
TRUNCATE a;
SELECT count(*) FROM a;
INSERT INTO a VALUES (3, 'three');
SELECT * FROM a;
ROLLBACK;
SELECT * FROM a ORDER BY id;

-- Between other statements of a transaction: one snapshot.
BEGIN;
UPDATE a SET note = 'gone';
TRUNCATE a;
INSERT INTO a VALUES (4, 'four');
SAVEPOINT s;
TRUNCATE a;
INSERT INTO a VALUES (5, 'gone');
ROLLBACK TO s;
INSERT INTO a VALUES (6, 'six');
COMMIT;
SELECT * FROM a ORDER BY id;
SELECT * FROM state('a');

-- Rows that were never committed.
BEGIN;
INSERT INTO b VALUES (100);
TRUNCATE b;
INSERT INTO b VALUES (101);
COMMIT;
SELECT * FROM b;

-- Several tables, heap tables among them.
TRUNCATE a, b, h;
SELECT (SELECT count(*) FROM a), (SELECT count(*) FROM b), (SELECT count(*) FROM h);

-- All or nothing.
INSERT INTO a VALUES (7, 'seven');
CREATE TABLE refers (id int REFERENCES h);
TRUNCATE a, h;
SELECT * FROM a;
TRUNCATE a, h CASCADE;
SELECT * FROM a;

-- Sequences.
CREATE TABLE s (id serial, x text) USING iceberg;
INSERT INTO s (x) VALUES ('a'), ('b');
TRUNCATE s;
INSERT INTO s (x) VALUES ('c') RETURNING id;
TRUNCATE s RESTART IDENTITY;
INSERT INTO s (x) VALUES ('d') RETURNING id;
BEGIN;
TRUNCATE s RESTART IDENTITY;
INSERT INTO s (x) VALUES ('e') RETURNING id;
ROLLBACK;
INSERT INTO s (x) VALUES ('f') RETURNING id;
SELECT * FROM s ORDER BY id;

-- A partitioned table with lake and heap partitions.
CREATE TABLE p (id int, k int) PARTITION BY LIST (k);
CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1);
CREATE TABLE p2 PARTITION OF p FOR VALUES IN (2) USING iceberg;
INSERT INTO p VALUES (1, 1), (2, 2), (3, 2);
TRUNCATE p;
SELECT count(*) FROM p;

-- Made and truncated in one transaction.
BEGIN;
CREATE TABLE c USING iceberg AS SELECT generate_series(1, 10) AS id;
TRUNCATE c;
INSERT INTO c VALUES (1);
COMMIT;
SELECT * FROM c;
SELECT * FROM state('c');

-- In a function, in an exception block.
DO $$
BEGIN
  BEGIN
    TRUNCATE tr.c;
    RAISE 'take it back';
  EXCEPTION WHEN raise_exception THEN
    INSERT INTO tr.c VALUES (2);
  END;
  TRUNCATE tr.s;
END $$;
SELECT * FROM c ORDER BY id;
SELECT count(*) FROM s;

-- Not allowed.
CREATE ROLE regress_truncater;
GRANT USAGE ON SCHEMA tr TO regress_truncater;
GRANT SELECT, INSERT, UPDATE, DELETE ON c TO regress_truncater;
SET ROLE regress_truncater;
TRUNCATE c;
RESET ROLE;
GRANT TRUNCATE ON c TO regress_truncater;
SET ROLE regress_truncater;
TRUNCATE c;
RESET ROLE;
SELECT count(*) FROM c;
DROP OWNED BY regress_truncater;
DROP ROLE regress_truncater;
BEGIN READ ONLY;
TRUNCATE a;
ROLLBACK;
BEGIN;
TRUNCATE a;
PREPARE TRANSACTION 'lake';
ROLLBACK;

\set VERBOSITY terse
SET client_min_messages = warning;
DROP SCHEMA tr CASCADE;
