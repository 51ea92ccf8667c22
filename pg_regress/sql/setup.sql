-- The extension and what it brings: schemas, roles, servers, access methods, settings.
CREATE EXTENSION pg_lake_stream_ext;

SELECT nspname FROM pg_namespace WHERE nspname LIKE 'lake%' ORDER BY 1;
SELECT rolname, rolcanlogin FROM pg_roles WHERE rolname LIKE 'lake%' OR rolname = 'iceberg_catalog' ORDER BY 1;
SELECT r.rolname AS member, m.rolname AS of_role
  FROM pg_auth_members a JOIN pg_roles r ON r.oid = a.member JOIN pg_roles m ON m.oid = a.roleid
 WHERE m.rolname LIKE 'lake%' ORDER BY 1, 2;
SELECT srvname FROM pg_foreign_server ORDER BY 1;
SELECT amname, amtype FROM pg_am WHERE amname LIKE '%iceberg' ORDER BY 1;
SELECT n.nspname || '.' || c.relname AS catalog, c.relkind, c.relreplident
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname LIKE 'lake%' AND c.relkind IN ('r', 'v') ORDER BY 1;
SELECT name, context, vartype FROM pg_settings WHERE name LIKE 'pg_lake%' ORDER BY 1;

-- A misspelt setting of ours is refused.
SET pg_lake_engine.streaming_write = on;

-- EXPLAIN output for the other suites: file names and locations replaced by what they are.
CREATE FUNCTION explain(query text, options text DEFAULT 'COSTS off') RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
  line text;
BEGIN
  FOR line IN EXECUTE format('EXPLAIN (%s) %s', options, query) LOOP
    line := regexp_replace(line, '(file|s3)://[^'']*/data/[0-9a-f]{2}/[-0-9a-f]{36}\.parquet', '<file>', 'g');
    RETURN NEXT line;
  END LOOP;
END $$;
