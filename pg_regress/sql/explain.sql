-- What EXPLAIN shows: the SQL that goes to the server, the columns and filters in it, the files that are scanned.
CREATE SCHEMA ex;
SET search_path = ex, public;
CREATE TABLE t (id int, name text, x double precision, amt numeric(10,2), d date, at timestamptz, ok boolean, tags text[]) USING iceberg;
INSERT INTO t SELECT i, 'n' || i, i, i, date '2020-01-01' + i, '2020-01-01Z', i % 2 = 0, NULL FROM generate_series(1, 10) i;
INSERT INTO t SELECT i, 'n' || i, i, i, date '2020-01-01' + i, '2020-01-01Z', i % 2 = 0, NULL FROM generate_series(11, 20) i;
CREATE TABLE h (id int);

-- All columns, some, none.
SELECT explain('SELECT * FROM t');
SELECT explain('SELECT * FROM t', 'COSTS off, VERBOSE');
SELECT explain('SELECT name, id FROM t', 'COSTS off, VERBOSE');
SELECT explain('SELECT count(*) FROM t', 'COSTS off, VERBOSE');

-- Filters that go to the server ...
SELECT explain($$SELECT id FROM t WHERE id > 5 AND name = 'n7'$$, 'COSTS off, VERBOSE');
SELECT explain($$SELECT id FROM t WHERE d BETWEEN '2020-01-05' AND '2020-01-07' OR amt < 1.5$$, 'COSTS off, VERBOSE');
SELECT explain($$SELECT id FROM t WHERE id IN (1, 2, 3) AND ok AND name IS NOT NULL$$, 'COSTS off, VERBOSE');
SELECT explain($$SELECT id FROM t WHERE at >= '2020-01-01Z'$$, 'COSTS off, VERBOSE');
-- ... and filters that stay here, whole or in part.
SELECT explain($$SELECT id FROM t WHERE md5(name) = 'x'$$, 'COSTS off, VERBOSE');
SELECT explain($$SELECT id FROM t WHERE id < 5 AND random() < 2$$, 'COSTS off, VERBOSE');
SELECT explain($$SELECT id FROM t WHERE name ~ '^n1' AND id < 5$$, 'COSTS off, VERBOSE');

-- Quotes and other traps in constants and names.
SELECT explain($$SELECT id FROM t WHERE name = 'it''s "x" \ $1 @@PG_LAKE_RECV@@'$$, 'COSTS off, VERBOSE');
CREATE TABLE "q""t" ("a ""b" int, "select" text) USING iceberg;
INSERT INTO "q""t" VALUES (1, 'x');
SELECT explain($$SELECT "select" FROM "q""t" WHERE "a ""b" = 1$$, 'COSTS off, VERBOSE');

-- Parameters.
PREPARE q(int) AS SELECT name FROM t WHERE id = $1;
SET plan_cache_mode = force_generic_plan;
SELECT explain('EXECUTE q(3)', 'COSTS off, VERBOSE');
RESET plan_cache_mode;

-- Joins, INSERT.
SELECT explain('SELECT t.name FROM t JOIN h USING (id)', 'COSTS off');
SELECT explain('INSERT INTO t (id) SELECT id FROM h', 'COSTS off, VERBOSE');
SELECT explain('INSERT INTO h SELECT id FROM t WHERE id < 3', 'COSTS off, VERBOSE');

-- ANALYZE counts rows; a table without files has none to scan.
SELECT explain('SELECT id FROM t WHERE id <= 5', 'COSTS off, ANALYZE, TIMING off, SUMMARY off');
CREATE TABLE empty (id int) USING iceberg;
SELECT explain('SELECT * FROM empty', 'COSTS off, VERBOSE');
SELECT explain('SELECT name FROM t WHERE id = 1', 'COSTS off, VERBOSE, FORMAT json');

\set VERBOSITY terse
SET client_min_messages = warning;
DROP SCHEMA ex CASCADE;
