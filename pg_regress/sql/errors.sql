-- What is refused, with its SQLSTATE, and errors that come from elsewhere and pass through unchanged.
CREATE SCHEMA err;
SET search_path = err, public;
\set VERBOSITY verbose
\set SHOW_CONTEXT never

-- Prints an error's SQLSTATE, message, detail and hint: what `verbose` prints also names lines of source files.
CREATE FUNCTION fails(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  message text; detail text; hint text; col text;
BEGIN
  EXECUTE statement;
  RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT, col = COLUMN_NAME;
  RETURN concat_ws(' | ', SQLSTATE, message, 'detail: ' || nullif(detail, ''), 'hint: ' || nullif(hint, ''), 'column: ' || nullif(col, ''));
END $$;

CREATE TABLE t (id int NOT NULL, amt numeric(6,2) CONSTRAINT not_negative CHECK (amt >= 0), d date, a int[], v varchar(3)) USING iceberg;
INSERT INTO t VALUES (1, 1, '2020-01-01', '{1}', 'abc');

-- Values.
SELECT fails('INSERT INTO t (id) VALUES (NULL)');
SELECT fails('INSERT INTO t (id, amt) VALUES (2, -1)');
SELECT fails('INSERT INTO t (id, amt) VALUES (2, 12345)');
SELECT fails('INSERT INTO t (id, v) VALUES (2, ''abcd'')');
SELECT fails('INSERT INTO t (id, d) VALUES (2, ''infinity'')');
SELECT fails('INSERT INTO t (id, d) VALUES (2, ''10000-01-01'')');
SELECT fails('INSERT INTO t (id, amt) VALUES (2, ''NaN'')');
SELECT fails('INSERT INTO t (id, a) VALUES (2, ''{{1},{2}}'')');
SELECT fails('INSERT INTO t (id) SELECT 1 / (3 - i) FROM generate_series(1, 5) i');

-- Statements that lake tables do not have (yet).
SELECT fails('MERGE INTO t USING (VALUES (1)) s (id) ON t.id = s.id WHEN MATCHED THEN DELETE');
SELECT fails('CREATE INDEX ON t (id)');
SELECT fails('SELECT * FROM t FOR UPDATE');
SELECT fails('ALTER TABLE t ADD COLUMN x int');
SELECT fails('ALTER TABLE t DROP COLUMN v');
SELECT fails('ALTER TABLE t RENAME COLUMN v TO w');
SELECT fails('ALTER TABLE t ALTER COLUMN id TYPE bigint');
SELECT fails('ALTER TABLE t ALTER COLUMN d SET NOT NULL');

-- Types and options at CREATE TABLE.
SELECT fails('CREATE TABLE bad (id int, i interval) USING iceberg');
SELECT fails('CREATE TABLE bad (id int, "My Column" point) USING iceberg');
SELECT fails('CREATE TABLE bad (id int, n numeric(39,2)) USING iceberg');
SELECT fails('CREATE TABLE bad (id int, a interval[]) USING iceberg');
SELECT fails('CREATE TABLE bad (id int) USING iceberg WITH (locaton = ''/x'')');
SELECT fails('CREATE TABLE bad (id int) USING iceberg WITH (location = ''not/absolute'')');
SELECT fails('CREATE TABLE bad (id int) USING iceberg WITH (location = ''http://host/x'')');
SELECT fails('CREATE TEMP TABLE bad (id int) USING iceberg');
SELECT fails('CREATE UNLOGGED TABLE bad (id int) USING iceberg');
SELECT fails('CREATE TABLE bad (id int PRIMARY KEY) USING iceberg');
SELECT to_regclass('bad');

-- No location to put a table.
SET pg_lake_iceberg.default_location_prefix = '';
SELECT fails('CREATE TABLE bad (id int) USING iceberg');
RESET pg_lake_iceberg.default_location_prefix;

-- No server.
SET pg_lake_engine.host = 'host=127.0.0.1 port=1';
SELECT split_part(fails('SELECT * FROM t'), ' | ', 1) AS sqlstate;
SELECT split_part(fails('INSERT INTO t (id) VALUES (1)'), ' | ', 1) AS sqlstate;
SET pg_lake_engine.host = 'no such option=1';
RESET pg_lake_engine.host;
SELECT * FROM t;

-- Settings are the superuser's.
CREATE ROLE err_user;
GRANT USAGE ON SCHEMA err TO err_user;
GRANT EXECUTE ON FUNCTION fails TO err_user;
SET ROLE err_user;
SELECT fails('SET pg_lake_engine.host = ''host=example''');
SELECT fails('SET pg_lake_iceberg.default_location_prefix = ''/''');
SELECT fails('SELECT * FROM err.t');
SELECT fails('INSERT INTO err.t (id) VALUES (1)');
SELECT fails('CREATE TABLE mine (id int) USING iceberg');
SELECT fails('SELECT lake_iceberg.metadata(''/etc/passwd'')');
SELECT fails('SELECT count(*) FROM lake_table.files');
SELECT fails('INSERT INTO lake_table.files (table_name, path) VALUES (0, ''x'')');
RESET ROLE;

-- Errors of PostgreSQL keep their position and context.
\set VERBOSITY default
\set SHOW_CONTEXT always
SELECT no_such_column FROM t;
SELECT count(*) FROM t WHERE id = 'x';
INSERT INTO t (id, nothing) VALUES (1, 2);
COPY t (id, amt) FROM STDIN;
1	2.5
2	x
\.
SELECT count(*) FROM t;

\set VERBOSITY terse
SET client_min_messages = warning;
REVOKE ALL ON SCHEMA err FROM err_user;
DROP SCHEMA err CASCADE;
DROP ROLE err_user;
