-- INSERT in all its forms.
CREATE SCHEMA ins;
SET search_path = ins, public;

CREATE TABLE t (
  id int NOT NULL,
  name text DEFAULT 'nobody',
  amount numeric(10,2) CHECK (amount >= 0),
  twice numeric(11,2) GENERATED ALWAYS AS (amount * 2) STORED
) USING iceberg;

INSERT INTO t VALUES (1, 'one', 1.5);
INSERT INTO t (id, amount) VALUES (2, 2.25), (3, NULL);
INSERT INTO t (amount, id, name) VALUES (3, 4, DEFAULT);
INSERT INTO t SELECT i, 'n' || i, i / 10.0 FROM generate_series(5, 7) i;
INSERT INTO t VALUES (8, '', 0) RETURNING *;
INSERT INTO t VALUES (9, NULL, 1.005) RETURNING id, amount, twice, name IS NULL AS no_name, tableoid::regclass;
SELECT * FROM t ORDER BY id;

-- Constraints.
INSERT INTO t VALUES (NULL, 'x', 1);
INSERT INTO t VALUES (10, 'x', -1);
INSERT INTO t SELECT i, 'x', 5 - i FROM generate_series(1, 10) i;
INSERT INTO t (id, twice) VALUES (10, 1);
INSERT INTO t VALUES (10, 'x', 123456789.00);
SELECT count(*) FROM t;

-- From other tables: heap, lake, itself, set operations, CTEs.
CREATE TABLE heap (id int, name text);
INSERT INTO heap SELECT i, 'heap ' || i FROM generate_series(101, 103) i;
INSERT INTO t (id, name) SELECT * FROM heap;
INSERT INTO t (id, name, amount) SELECT id + 1000, name, amount FROM t WHERE id <= 2;
WITH src AS (SELECT id FROM heap UNION ALL SELECT 7) INSERT INTO t (id) SELECT id + 2000 FROM src;
WITH w AS (INSERT INTO t (id, name) VALUES (3000, 'cte') RETURNING id, name) INSERT INTO heap SELECT * FROM w RETURNING *;
INSERT INTO heap SELECT id, name FROM t WHERE id > 1000 AND id < 2000;
SELECT id, name, amount FROM t WHERE id > 100 ORDER BY id;
SELECT * FROM heap ORDER BY id;

-- DEFAULT VALUES, sequences, identity.
CREATE SEQUENCE seq;
CREATE TABLE s (id bigint DEFAULT nextval('seq'), at_day date DEFAULT '2020-02-29') USING iceberg;
INSERT INTO s DEFAULT VALUES;
INSERT INTO s DEFAULT VALUES RETURNING *;
SELECT * FROM s ORDER BY id;
CREATE TABLE ser (id serial, x int) USING iceberg;
INSERT INTO ser (x) VALUES (10), (20);
SELECT * FROM ser ORDER BY id;

-- Triggers.
CREATE FUNCTION upper_name() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.id = 0 THEN RETURN NULL; END IF;
  NEW.name := upper(NEW.name);
  RETURN NEW;
END $$;
CREATE FUNCTION say() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE NOTICE '% % % %', TG_WHEN, TG_OP, TG_LEVEL, NEW;
  RETURN NULL;
END $$;
CREATE TABLE tr (id int, name text) USING iceberg;
CREATE TRIGGER before_row BEFORE INSERT ON tr FOR EACH ROW EXECUTE FUNCTION upper_name();
CREATE TRIGGER after_row AFTER INSERT ON tr FOR EACH ROW EXECUTE FUNCTION say();
CREATE TRIGGER after_statement AFTER INSERT ON tr FOR EACH STATEMENT EXECUTE FUNCTION say();
INSERT INTO tr VALUES (0, 'left out'), (1, 'a'), (2, 'b');
SELECT * FROM tr ORDER BY id;

-- Prepared statements, generic plans too.
PREPARE ins(int, text) AS INSERT INTO tr VALUES ($1, $2) RETURNING name;
SET plan_cache_mode = force_generic_plan;
EXECUTE ins(3, 'c');
EXECUTE ins(4, 'd');
RESET plan_cache_mode;
DEALLOCATE ins;

-- PL/pgSQL.
DO $$
DECLARE
  got int;
BEGIN
  FOR i IN 10 .. 12 LOOP
    INSERT INTO t (id, name) VALUES (i, 'loop ' || i) RETURNING id INTO got;
  END LOOP;
  SELECT count(*) INTO got FROM t WHERE name LIKE 'loop%';
  RAISE NOTICE 'rows seen inside the block: %', got;
END $$;
CREATE FUNCTION add_row(i int) RETURNS int LANGUAGE sql AS $$ INSERT INTO ins.t (id) VALUES (i) RETURNING id $$;
SELECT add_row(20);

-- Through a view, into a partition, as a child.
CREATE VIEW v AS SELECT id, name FROM t WHERE id < 50;
INSERT INTO v VALUES (30, 'by view');
CREATE TABLE part (id int, name text) PARTITION BY LIST (id);
CREATE TABLE part_heap PARTITION OF part FOR VALUES IN (1);
CREATE TABLE part_lake PARTITION OF part FOR VALUES IN (2) USING iceberg;
INSERT INTO part VALUES (1, 'heap'), (2, 'lake'), (2, 'lake again');
SELECT tableoid::regclass, * FROM part ORDER BY 2, 3;

-- COPY FROM STDIN, row by row.
COPY t (id, name, amount) FROM STDIN;
40	forty	40.00
41	\N	\N
42	tab\there	0.42
\.
COPY t (id, name) FROM STDIN (FORMAT csv);
43,"comma, ""quote"""
44,
\.
COPY t (id, amount) FROM STDIN;
45	1
46	-1
\.
SELECT id, name, amount, twice FROM t WHERE id BETWEEN 30 AND 50 ORDER BY id;

-- Nothing to insert.
INSERT INTO t (id) SELECT 1 WHERE false;

-- EXPLAIN does not execute, EXPLAIN ANALYZE does.
EXPLAIN (COSTS off) INSERT INTO tr VALUES (100, 'explained');
SELECT count(*) FROM tr WHERE id = 100;

-- What a foreign table cannot do.
INSERT INTO t (id) VALUES (1) ON CONFLICT (id) DO NOTHING;
INSERT INTO t (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET name = 'x';

SELECT count(*), count(DISTINCT path) > 10 AS many_files FROM lake_table.files WHERE table_name = 't'::regclass AND row_count < 1;
SELECT sum(row_count) = (SELECT count(*) FROM t) AS counted FROM lake_table.files WHERE table_name = 't'::regclass;
\set VERBOSITY terse
SET client_min_messages = warning;
DROP SCHEMA ins CASCADE;
