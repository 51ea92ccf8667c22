-- Reading lake tables, beside heap tables.
CREATE SCHEMA sel;
SET search_path = sel, public;

CREATE TABLE h (id int, grp text, x double precision, amt numeric(10,2), at timestamptz, tags text[]);
INSERT INTO h
  SELECT i, CASE WHEN i % 7 <> 0 THEN 'g' || i % 3 END, i / 4.0, i * 1.25, timestamptz '2020-01-01 00:00Z' + i * interval '1 hour',
         CASE WHEN i % 2 = 0 THEN array['t' || i, NULL] END
    FROM generate_series(1, 1000) i;
CREATE TABLE l (id int, grp text, x double precision, amt numeric(10,2), at timestamptz, tags text[]) USING iceberg;
INSERT INTO l SELECT * FROM h WHERE id <= 400;
INSERT INTO l SELECT * FROM h WHERE id > 400;

SELECT count(*), sum(id), sum(amt), min(at), max(at) FROM l;
SELECT grp, count(*), sum(amt) FROM l GROUP BY grp ORDER BY grp;
SELECT * FROM l WHERE id IN (1, 14, 401) ORDER BY id;
SELECT id FROM l WHERE grp IS NULL AND id < 30 ORDER BY id DESC LIMIT 3;
SELECT id, tags[1] FROM l WHERE tags IS NOT NULL ORDER BY id OFFSET 498;
SELECT count(*) FROM l WHERE grp LIKE 'g_' AND at >= '2020-01-02Z' AND amt BETWEEN 10 AND 100.5;
SELECT count(*) FROM l WHERE lower(grp) = 'g1' OR NOT x > 10;
SELECT 1 FROM l WHERE false;
SELECT count(*) FROM (SELECT FROM l) s;
SELECT l FROM l WHERE id = 3;
SELECT tableoid::regclass, id FROM l WHERE id = 3;

-- The same as the heap table.
SELECT count(*) FROM (TABLE l EXCEPT ALL TABLE h) d;
SELECT count(*) FROM (TABLE h EXCEPT ALL TABLE l) d;

-- Joins: lake and heap, lake and itself, lateral, semi, anti.
SELECT count(*), sum(h.amt) FROM l JOIN h USING (id) WHERE l.x < 100;
SELECT count(*) FROM l a JOIN l b ON a.id = b.id + 1;
SELECT count(*) FROM h WHERE EXISTS (SELECT FROM l WHERE l.id = h.id AND l.grp = 'g1');
SELECT count(*) FROM h LEFT JOIN l ON l.id = h.id AND l.id < 10 WHERE l.id IS NULL;
SELECT h.id, s.n FROM (SELECT * FROM h WHERE id < 4) h, LATERAL (SELECT count(*) AS n FROM l WHERE l.id <= h.id) s ORDER BY 1;
SET enable_hashjoin = off;
SET enable_mergejoin = off;
SELECT count(*) FROM (SELECT * FROM h WHERE id <= 5) h JOIN (SELECT * FROM l WHERE id <= 5) l ON l.id >= h.id;
RESET enable_hashjoin;
RESET enable_mergejoin;

-- Window functions, DISTINCT, set operations, subqueries, CTEs, views.
SELECT id, row_number() OVER (PARTITION BY grp ORDER BY id) FROM l WHERE id <= 6 ORDER BY id;
SELECT DISTINCT grp FROM l ORDER BY 1;
SELECT id FROM l WHERE id < 3 UNION SELECT id FROM h WHERE id < 4 ORDER BY 1;
WITH top AS (SELECT id, x FROM l ORDER BY x DESC LIMIT 3) SELECT sum(id) FROM top;
CREATE VIEW lv AS SELECT id, amt FROM l WHERE grp = 'g2';
SELECT count(*), max(amt) FROM lv;
SELECT (SELECT max(id) FROM l) - (SELECT count(*) FROM h) AS difference;

-- Parameters, generic and custom plans.
PREPARE q(int, text, timestamptz) AS SELECT count(*) FROM l WHERE id > $1 AND grp = $2 AND at < $3;
EXECUTE q(10, 'g1', '2020-01-20Z');
SET plan_cache_mode = force_generic_plan;
EXECUTE q(10, 'g1', '2020-01-20Z');
EXECUTE q(10, NULL, '2020-01-20Z');
RESET plan_cache_mode;
DEALLOCATE q;

-- Cursors.
BEGIN;
DECLARE c CURSOR FOR SELECT id FROM l ORDER BY id;
FETCH 2 FROM c;
MOVE 500 IN c;
FETCH 2 FROM c;
DECLARE c2 CURSOR FOR SELECT id FROM l WHERE id < 4 ORDER BY id;
FETCH 1 FROM c2;
FETCH 1 FROM c;
CLOSE c;
FETCH ALL FROM c2;
COMMIT;

-- Errors while reading, and early ends, leave the session as it was.
SELECT 1 / (id - 500) FROM l;
SELECT id FROM l LIMIT 1 OFFSET 999;
SELECT count(*) FROM l;

-- COPY TO, with what a query can do.
COPY (SELECT id, grp, tags FROM l WHERE id IN (6, 7, 8) ORDER BY id) TO STDOUT (FORMAT csv, HEADER);

-- Locking clauses, system columns, TABLESAMPLE.
SELECT id FROM l WHERE id = 1 FOR UPDATE;
SELECT ctid FROM l WHERE id = 1;
SELECT count(*) FROM l TABLESAMPLE SYSTEM (10);

\set VERBOSITY terse
SET client_min_messages = warning;
DROP SCHEMA sel CASCADE;
