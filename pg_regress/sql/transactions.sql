-- A lake table in transactions: the own view, savepoints, rollback, several tables.
CREATE SCHEMA tx;
SET search_path = tx, public;
CREATE TABLE a (id int, note text) USING iceberg;
CREATE TABLE b (id int) USING iceberg;
CREATE TABLE h (id int);

-- Versions of the metadata of a table, its snapshots and its live files.
CREATE FUNCTION state(t regclass, OUT version int, OUT snapshots bigint, OUT files bigint) LANGUAGE sql AS $$
  SELECT substring(metadata_location FROM '/metadata/(\d+)-')::int,
         (SELECT count(*) FROM lake_iceberg.snapshots(metadata_location)),
         (SELECT count(*) FROM lake_iceberg.files(metadata_location))
    FROM lake_iceberg.tables_internal WHERE table_name = t
$$;
SELECT * FROM state('a');

-- One snapshot per transaction and table.
BEGIN;
INSERT INTO a VALUES (1, 'one');
INSERT INTO a VALUES (2, 'two');
SELECT * FROM a ORDER BY id;
SELECT * FROM state('a');
COMMIT;
SELECT * FROM state('a');

-- ROLLBACK.
BEGIN;
INSERT INTO a VALUES (3, 'gone');
INSERT INTO h VALUES (3);
SELECT count(*) FROM a;
ROLLBACK;
SELECT count(*) FROM a;
SELECT * FROM state('a');

-- Savepoints.
BEGIN;
INSERT INTO a VALUES (3, 'kept');
SAVEPOINT s1;
INSERT INTO a VALUES (4, 'gone');
SAVEPOINT s2;
INSERT INTO a VALUES (5, 'gone');
ROLLBACK TO s2;
SELECT id FROM a ORDER BY id;
INSERT INTO a VALUES (6, 'gone');
ROLLBACK TO s1;
INSERT INTO a VALUES (7, 'kept');
RELEASE s1;
COMMIT;
SELECT * FROM a ORDER BY id;
SELECT * FROM state('a');

-- A failed statement ends the transaction.
BEGIN;
INSERT INTO a VALUES (8, 'gone');
SELECT 1 / 0;
INSERT INTO a VALUES (9, 'gone');
COMMIT;
SELECT count(*) FROM a;

-- Several tables.
BEGIN;
INSERT INTO h SELECT generate_series(1, 3);
INSERT INTO b SELECT id FROM h;
INSERT INTO a SELECT id + 10, 'from b' FROM b;
COMMIT;
SELECT (SELECT count(*) FROM a), (SELECT count(*) FROM b), (SELECT count(*) FROM h);

-- A transaction that is all rolled back inside writes no metadata.
SELECT * FROM state('b');
BEGIN;
SAVEPOINT s;
INSERT INTO b VALUES (100);
ROLLBACK TO s;
COMMIT;
SELECT * FROM state('b');

-- DDL and rows together.
BEGIN;
CREATE TABLE c (id int) USING iceberg;
INSERT INTO c VALUES (1), (2);
SELECT count(*) FROM c;
COMMIT;
SELECT * FROM state('c');
BEGIN;
INSERT INTO c VALUES (3);
DROP TABLE c;
ROLLBACK;
SELECT count(*) FROM c;
BEGIN;
CREATE TABLE d USING iceberg AS SELECT 1 AS id;
INSERT INTO d VALUES (2);
DROP TABLE d;
COMMIT;
SELECT to_regclass('d');

-- Snapshots of REPEATABLE READ.
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT count(*) FROM b;
INSERT INTO b VALUES (4);
SELECT count(*) FROM b;
COMMIT;

-- READ ONLY.
BEGIN READ ONLY;
SELECT count(*) FROM b;
INSERT INTO b VALUES (5);
ROLLBACK;

-- Two-phase commit is not for lake tables.
BEGIN;
INSERT INTO b VALUES (5);
PREPARE TRANSACTION 'lake';
ROLLBACK;
SELECT count(*) FROM b;

-- A cursor keeps seeing what it saw when it was opened.
BEGIN;
DECLARE cur CURSOR FOR SELECT id FROM b ORDER BY id;
FETCH 1 FROM cur;
INSERT INTO b VALUES (6);
FETCH ALL FROM cur;
SELECT count(*) FROM b;
COMMIT;

-- PL/pgSQL: subtransactions, and COMMIT inside a procedure.
CREATE PROCEDURE load(n int) LANGUAGE plpgsql AS $$
BEGIN
  FOR i IN 1 .. n LOOP
    INSERT INTO tx.b VALUES (100 + i);
    IF i % 2 = 0 THEN COMMIT; ELSE ROLLBACK; END IF;
  END LOOP;
END $$;
CALL load(4);
SELECT id FROM b WHERE id > 100 ORDER BY id;

\set VERBOSITY terse
SET client_min_messages = warning;
DROP SCHEMA tx CASCADE;
