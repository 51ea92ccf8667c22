-- UPDATE and DELETE in all their forms.
CREATE SCHEMA ud;
SET search_path = ud, public;
CREATE TABLE t (
  id int NOT NULL,
  n int,
  name text,
  amount numeric(10,2) CONSTRAINT not_negative CHECK (amount >= 0),
  twice numeric(11,2) GENERATED ALWAYS AS (amount * 2) STORED
) USING iceberg;
INSERT INTO t SELECT i, i % 5, 'n' || i, i / 4.0 FROM generate_series(1, 20) i;
INSERT INTO t SELECT i, i % 5, NULL, NULL FROM generate_series(21, 30) i;
CREATE TABLE h (id int, v int);
INSERT INTO h SELECT i * 2, i FROM generate_series(1, 10) i;
CREATE TABLE l (id int, v text) USING iceberg;
INSERT INTO l SELECT i * 5, 'lake ' || i FROM generate_series(1, 6) i;

-- By simple conditions.
UPDATE t SET name = 'one' WHERE id = 1;
UPDATE t SET n = n + 10, amount = amount + 1 WHERE id BETWEEN 2 AND 4;
UPDATE t SET name = NULL, n = DEFAULT WHERE name = 'n20' OR amount = 4.75;
UPDATE t SET amount = 0 WHERE amount IS NULL AND id < 23;
DELETE FROM t WHERE id = 5;
DELETE FROM t WHERE n IN (0, 1) AND id > 10;
DELETE FROM t WHERE name IS NULL AND id > 25;
DELETE FROM t WHERE id = 5;
UPDATE t SET n = 0 WHERE false;
SELECT * FROM t ORDER BY id;

-- By conditions and with values that only PostgreSQL evaluates.
UPDATE t SET name = md5(name) WHERE id = 2;
UPDATE t SET name = upper(substr(name, 1, 3)) WHERE name ~ '^[0-9a-f]{32}$';
DELETE FROM t WHERE length(name) = 3 AND name LIKE 'n%7';
SELECT id, name FROM t WHERE id IN (2, 7, 17) ORDER BY id;

-- RETURNING: the old row of a DELETE, the new row of an UPDATE.
UPDATE t SET n = 100, amount = 5.005 WHERE id = 6 RETURNING *;
UPDATE t AS x SET n = n + 1 WHERE id = 6 RETURNING x.id, x.n, n * 2 AS twice_n, tableoid::regclass;
DELETE FROM t WHERE id = 6 RETURNING *, 'gone' AS what;
DELETE FROM t WHERE id = 6 RETURNING *;
WITH u AS (UPDATE t SET n = -n WHERE id IN (7, 8, 9) RETURNING id, n) SELECT * FROM u ORDER BY id;
WITH d AS (DELETE FROM t WHERE id IN (7, 9) RETURNING id, name) INSERT INTO h SELECT id, -1 FROM d;
SELECT * FROM h WHERE v = -1 ORDER BY id;

-- Joins and sub-selects.
UPDATE t SET n = h.v FROM h WHERE h.id = t.id AND h.v > 0;
UPDATE t SET name = l.v FROM l WHERE l.id = t.id;
UPDATE t SET n = s.n FROM t s WHERE s.id = t.id + 1 AND t.id < 3;
UPDATE t SET (n, name) = (SELECT v, 'from h' FROM h WHERE h.id = t.id) WHERE id = 10;
DELETE FROM t USING l, h WHERE l.id = t.id AND h.id = t.id;
DELETE FROM t WHERE id = (SELECT max(id) FROM t);
DELETE FROM t WHERE NOT EXISTS (SELECT FROM h WHERE h.id = t.id) AND id > 20;
SELECT id, n, name FROM t ORDER BY id;

-- A row that is found twice is changed once.
UPDATE t SET n = n + 1 FROM (VALUES (1), (1), (2)) v (i) WHERE id = i;
DELETE FROM t USING (VALUES (3), (3)) v (i) WHERE id = i;
SELECT id, n FROM t WHERE id <= 3 ORDER BY id;

-- Constraints: nothing has changed afterwards.
UPDATE t SET amount = -amount WHERE id = 8;
UPDATE t SET id = NULL WHERE id = 1;
UPDATE t SET n = 1 / (id - 1);
DELETE FROM t WHERE 1 / (id - 1) > 0;
UPDATE t SET twice = 1;
UPDATE t SET twice = DEFAULT, amount = 8 WHERE id = 1 RETURNING twice;
SELECT count(*), sum(amount), sum(twice) FROM t;

-- Triggers.
CREATE FUNCTION say() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE NOTICE '% % %: % -> %', TG_WHEN, TG_OP, TG_LEVEL, OLD, NEW;
  RETURN NULL;
END $$;
CREATE FUNCTION change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'DELETE' THEN
    IF OLD.id = 2 THEN RETURN NULL; END IF;
    RETURN OLD;
  END IF;
  IF NEW.id = 2 THEN RETURN NULL; END IF;
  NEW.name := 'by trigger';
  RETURN NEW;
END $$;
CREATE TABLE tr (id int, name text) USING iceberg;
INSERT INTO tr VALUES (1, 'a'), (2, 'b'), (3, 'c');
CREATE TRIGGER before_row BEFORE UPDATE OR DELETE ON tr FOR EACH ROW EXECUTE FUNCTION change();
CREATE TRIGGER after_row AFTER UPDATE OR DELETE ON tr FOR EACH ROW EXECUTE FUNCTION say();
CREATE TRIGGER before_statement BEFORE UPDATE OR DELETE ON tr FOR EACH STATEMENT EXECUTE FUNCTION say();
CREATE TRIGGER after_statement AFTER UPDATE OR DELETE ON tr FOR EACH STATEMENT EXECUTE FUNCTION say();
UPDATE tr SET id = id WHERE id = 1;
UPDATE tr SET id = 20 WHERE id = 3;
UPDATE tr SET name = 'x' WHERE id = 2;
UPDATE tr SET name = 'x' WHERE id = 100;
DELETE FROM tr WHERE id = 1;
DELETE FROM tr WHERE id = 2;
SELECT * FROM tr ORDER BY id;

-- Prepared statements and generic plans, PL/pgSQL, functions.
PREPARE up (int, text) AS UPDATE t SET name = $2 WHERE id = $1 RETURNING id, name;
PREPARE del (int) AS DELETE FROM t WHERE id = $1 RETURNING id;
SET plan_cache_mode = force_generic_plan;
EXECUTE up (1, 'prepared');
EXECUTE up (2, NULL);
EXECUTE up (-1, 'nobody');
EXECUTE del (14);
EXECUTE del (14);
RESET plan_cache_mode;
DEALLOCATE ALL;
DO $$
DECLARE
  r record;
  changed int;
BEGIN
  FOR r IN SELECT id FROM ud.t WHERE id <= 4 ORDER BY id LOOP
    UPDATE ud.t SET n = r.id * 100 WHERE id = r.id;
    GET DIAGNOSTICS changed = ROW_COUNT;
    RAISE NOTICE 'row %: % changed, %', r.id, changed, FOUND;
  END LOOP;
  BEGIN
    DELETE FROM ud.t;
    RAISE 'take it back';
  EXCEPTION WHEN raise_exception THEN
    UPDATE ud.t SET name = 'after the exception' WHERE id = 4;
  END;
END $$;
SELECT id, n, name FROM t WHERE id <= 4 ORDER BY id;

-- Transactions: the statements see each other.
BEGIN;
INSERT INTO t (id, n) VALUES (100, 1), (101, 1);
UPDATE t SET n = 2 WHERE id >= 100;
DELETE FROM t WHERE n = 2 AND id = 101;
SAVEPOINT s;
DELETE FROM t;
SELECT count(*) FROM t;
ROLLBACK TO s;
UPDATE t SET n = n + 1 WHERE id = 100;
COMMIT;
SELECT id, n FROM t WHERE id >= 100;

-- A cursor keeps its rows.
BEGIN;
DECLARE c CURSOR FOR SELECT id FROM t ORDER BY id;
FETCH 1 FROM c;
DELETE FROM t WHERE id < 3;
UPDATE t SET id = id + 1000;
FETCH 2 FROM c;
ROLLBACK;

-- Views, partitions.
CREATE VIEW v AS SELECT id, name FROM t WHERE id < 3 WITH CHECK OPTION;
UPDATE v SET name = 'by view';
UPDATE v SET id = 50 WHERE id = 1;
DELETE FROM v WHERE id = 2;
SELECT * FROM v;
CREATE TABLE part (id int, k int) PARTITION BY LIST (k);
CREATE TABLE part_heap PARTITION OF part FOR VALUES IN (1);
CREATE TABLE part_lake PARTITION OF part FOR VALUES IN (2) USING iceberg;
INSERT INTO part SELECT i, 1 + i % 2 FROM generate_series(1, 10) i;
UPDATE part SET id = id + 100 WHERE id < 5;
DELETE FROM part WHERE id IN (6, 7, 102);
SELECT tableoid::regclass, id FROM part ORDER BY id;

-- Which way is taken.
SELECT explain('DELETE FROM l WHERE id < 3');
SELECT explain('DELETE FROM l');
SELECT explain($$UPDATE l SET v = 'x' WHERE id < 3$$);
SELECT explain('DELETE FROM l WHERE md5(v) < ''8''');
SELECT explain('UPDATE l SET v = md5(v) WHERE id = 1');
SELECT explain('DELETE FROM tr WHERE id = 1');

-- What is refused.
DELETE FROM t WHERE ctid = '(0,1)';
UPDATE t SET n = 0 RETURNING ctid;
UPDATE t SET n = xmin::text::int;
BEGIN;
DECLARE c CURSOR FOR SELECT * FROM t WHERE id = 1;
FETCH c;
UPDATE t SET n = 0 WHERE CURRENT OF c;
ROLLBACK;
MERGE INTO t USING h ON h.id = t.id WHEN MATCHED THEN DELETE;
SET default_transaction_read_only = on;
UPDATE t SET n = 0;
DELETE FROM t;
RESET default_transaction_read_only;
SELECT count(*), sum(n) FROM t;

\set VERBOSITY terse
SET client_min_messages = warning;
DROP SCHEMA ud CASCADE;
