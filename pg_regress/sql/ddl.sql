-- Making, changing and dropping lake tables.
CREATE SCHEMA ddl;
SET search_path = ddl, public;

-- The three ways to make one.
CREATE TABLE a (id int, name text) USING iceberg;
CREATE TABLE b (id bigint NOT NULL, d date DEFAULT '2020-01-01') USING pg_lake_iceberg;
CREATE FOREIGN TABLE c (id int) SERVER pg_lake_iceberg;
CREATE TABLE d USING iceberg AS SELECT i AS id, 'n' || i AS name FROM generate_series(1, 3) i;
CREATE TABLE e (x, y) USING iceberg AS SELECT 1::int, 'one'::text WITH NO DATA;
CREATE TABLE IF NOT EXISTS d USING iceberg AS SELECT 1 AS other;
CREATE TABLE IF NOT EXISTS a (id int) USING iceberg;
CREATE TABLE like_a (LIKE a) USING iceberg;
SELECT c.relname, c.relkind, s.srvname
  FROM pg_class c JOIN pg_foreign_table f ON f.ftrelid = c.oid JOIN pg_foreign_server s ON s.oid = f.ftserver
 WHERE c.relnamespace = 'ddl'::regnamespace ORDER BY 1;
\d b
SELECT * FROM d ORDER BY id;
SELECT * FROM e;

-- By the setting.
SET default_table_access_method = 'iceberg';
CREATE TABLE f (id int);
RESET default_table_access_method;
SELECT relkind FROM pg_class WHERE oid = 'f'::regclass;

-- What the catalogs say.
SELECT table_name, metadata_location ~ '/metadata/00000-[-0-9a-f]{36}\.metadata\.json$' AS first_version, previous_metadata_location, read_only, has_custom_location
  FROM lake_iceberg.tables_internal WHERE table_name::text IN ('a', 'b', 'c', 'd') ORDER BY 1;
SELECT table_namespace, table_name FROM iceberg_tables WHERE table_namespace = 'ddl' ORDER BY 2;
SELECT field_id, pg_attnum, field_pg_type FROM lake_table.field_id_mappings WHERE table_name = 'b'::regclass ORDER BY 1;
SELECT jsonb_pretty(lake_iceberg.metadata(metadata_location) #> '{schemas,0}') FROM lake_iceberg.tables_internal WHERE table_name = 'b'::regclass;

-- A table in a schema and with a name that need quotes, and a column too.
CREATE SCHEMA "Odd Schema";
CREATE TABLE "Odd Schema"."Odd ""Table" ("The ""Id" int, "a/b?" text, "select" text) USING iceberg;
INSERT INTO "Odd Schema"."Odd ""Table" VALUES (1, 'slash', 'keyword'), (2, NULL, 'é');
SELECT * FROM "Odd Schema"."Odd ""Table" WHERE "select" = 'é' ORDER BY "The ""Id";
SELECT regexp_replace(metadata_location, '^.*(/Odd.*)/[0-9]+/metadata/.*$', '\1') FROM lake_iceberg.tables_internal WHERE table_name = '"Odd Schema"."Odd ""Table"'::regclass;

-- What cannot be a lake table.
CREATE TEMP TABLE bad (id int) USING iceberg;
CREATE UNLOGGED TABLE bad (id int) USING iceberg;
CREATE TABLE bad (id int PRIMARY KEY) USING iceberg;
CREATE TABLE bad (id int UNIQUE) USING iceberg;
CREATE TABLE bad (id int REFERENCES d) USING iceberg;
CREATE TABLE bad (id int) PARTITION BY RANGE (id) USING iceberg;
CREATE TABLE bad (id int, i interval) USING iceberg;
CREATE TABLE bad (id int) USING iceberg WITH (no_such_option = 1);
CREATE TABLE bad (id int) USING iceberg TABLESPACE pg_default;
CREATE TABLE bad () USING iceberg;
CREATE MATERIALIZED VIEW bad USING iceberg AS SELECT 1 AS a;
CREATE FOREIGN TABLE bad (id int) SERVER pg_lake_iceberg OPTIONS (no_such_option '1');
CREATE TABLE heap (id int);
ALTER TABLE heap SET ACCESS METHOD iceberg;
SELECT to_regclass('bad');

-- ALTER TABLE: what is only PostgreSQL's business works.
ALTER TABLE b ALTER d SET DEFAULT '2021-01-01';
ALTER TABLE b ADD CONSTRAINT positive CHECK (id > 0);
INSERT INTO b VALUES (1);
INSERT INTO b VALUES (-1);
SELECT * FROM b;
ALTER TABLE b DROP CONSTRAINT positive;
ALTER TABLE a RENAME TO a2;
ALTER TABLE a2 SET SCHEMA public;
INSERT INTO public.a2 VALUES (1, 'renamed');
SELECT * FROM public.a2;
SELECT table_namespace, table_name FROM iceberg_tables WHERE table_name = 'a2';
COMMENT ON TABLE b IS 'a lake table';
GRANT SELECT ON b TO lake_read;

-- DROP.
DROP TABLE public.a2;
DROP FOREIGN TABLE c;
DROP TABLE IF EXISTS c;
DROP SCHEMA "Odd Schema" CASCADE;
SELECT count(*) FROM lake_iceberg.tables_internal WHERE table_name::oid NOT IN (SELECT oid FROM pg_class);
SELECT count(*) FROM lake_table.files WHERE table_name::oid NOT IN (SELECT oid FROM pg_class);
SELECT count(*) FROM lake_table.field_id_mappings WHERE table_name::oid NOT IN (SELECT oid FROM pg_class);
\set VERBOSITY terse
DROP SCHEMA ddl CASCADE;
SELECT count(*) FROM iceberg_tables WHERE table_namespace = 'ddl';
