-- pg_lake_stream_ext 0.1.0: everything that CREATE EXTENSION makes.
\echo Use "CREATE EXTENSION pg_lake_stream_ext" to load this file. \quit

-- Roles: they belong to the cluster, so another database may have made them already.
DO $$
DECLARE
    role name;
BEGIN
    FOREACH role IN ARRAY ARRAY['lake_read', 'lake_write', 'lake_read_write', 'iceberg_catalog'] LOOP
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = role) THEN
            EXECUTE pg_catalog.format('CREATE ROLE %I NOLOGIN', role);
        END IF;
    END LOOP;
    GRANT lake_read, lake_write TO lake_read_write;
END
$$;

CREATE SCHEMA lake_iceberg;
CREATE SCHEMA lake_table;
CREATE SCHEMA lake_engine;
GRANT USAGE ON SCHEMA lake_iceberg TO PUBLIC;
GRANT USAGE ON SCHEMA lake_table, lake_engine TO lake_read, lake_write;

-- The catalogs. A relation's OID leads to everything; nothing here is written but by the extension.

CREATE TABLE lake_iceberg.tables_internal (
    table_name regclass PRIMARY KEY,
    location text NOT NULL,
    metadata_location text,
    previous_metadata_location text,
    read_only boolean NOT NULL DEFAULT false,
    has_custom_location boolean NOT NULL DEFAULT false,
    default_spec_id integer NOT NULL DEFAULT 0
);
COMMENT ON COLUMN lake_iceberg.tables_internal.metadata_location IS 'current metadata.json; NULL until the creating transaction commits';

CREATE TABLE lake_iceberg.tables_external (
    catalog_name text NOT NULL,
    table_namespace text NOT NULL,
    table_name text NOT NULL,
    metadata_location text,
    previous_metadata_location text,
    PRIMARY KEY (catalog_name, table_namespace, table_name)
);

CREATE TABLE lake_iceberg.namespace_properties (
    catalog_name text NOT NULL,
    namespace text NOT NULL,
    property_key text NOT NULL,
    property_value text,
    PRIMARY KEY (catalog_name, namespace, property_key)
);

CREATE TABLE lake_table.field_id_mappings (
    table_name regclass NOT NULL,
    field_id integer NOT NULL,
    pg_attnum smallint NOT NULL,
    parent_field_id integer,
    initial_default text,
    write_default text,
    field_pg_type regtype NOT NULL,
    field_pg_typemod integer NOT NULL,
    PRIMARY KEY (table_name, field_id)
);

CREATE TABLE lake_table.files (
    id bigint GENERATED ALWAYS AS IDENTITY,
    table_name regclass NOT NULL,
    path text NOT NULL,
    row_count bigint NOT NULL,
    updated_time timestamptz NOT NULL DEFAULT now(),
    file_size bigint NOT NULL,
    content integer NOT NULL DEFAULT 0,
    deleted_from bigint,
    positions bigint[],
    first_row_id bigint,
    snapshot_id bigint,
    sequence_number bigint,
    column_stats jsonb NOT NULL DEFAULT '[]',
    PRIMARY KEY (table_name, path),
    CHECK ((content = 1) = (deleted_from IS NOT NULL))
);
COMMENT ON COLUMN lake_table.files.content IS '0: data, 1: position deletes';
COMMENT ON COLUMN lake_table.files.deleted_from IS 'of position deletes: id of the data file whose rows they delete';
COMMENT ON COLUMN lake_table.files.positions IS 'of position deletes: the positions, if they are few; scans then need not read the file';
COMMENT ON COLUMN lake_table.files.snapshot_id IS 'the Iceberg snapshot that added the file; NULL until its transaction commits';
COMMENT ON COLUMN lake_table.files.sequence_number IS 'the sequence number of that snapshot';
CREATE UNIQUE INDEX files_id ON lake_table.files (id);
CREATE INDEX files_deleted_from ON lake_table.files (deleted_from) WHERE deleted_from IS NOT NULL;
CREATE INDEX files_uncommitted ON lake_table.files (table_name) WHERE snapshot_id IS NULL;

-- Every commit changes rows of these; dead ones are to go soon, however large the tables are.
ALTER TABLE lake_table.files SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
ALTER TABLE lake_iceberg.tables_internal SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);

CREATE VIEW lake_table.data_file_column_stats AS
    SELECT f.table_name, f.path, c.field_id, c.lower AS lower_bound, c.upper AS upper_bound
    FROM lake_table.files f,
         jsonb_to_recordset(f.column_stats) AS c (field_id integer, lower text, upper text);

CREATE VIEW lake_table.deletion_file_map AS
    SELECT d.table_name, d.path, f.path AS deleted_from
    FROM lake_table.files d JOIN lake_table.files f ON f.id = d.deleted_from;

-- What the newest snapshot does not contain any more, but older ones still do.
CREATE TABLE lake_table.removed_files (
    table_name regclass NOT NULL,
    path text NOT NULL,
    content integer,
    row_count bigint,
    file_size bigint,
    sequence_number bigint,
    removed_sequence_number bigint
);
COMMENT ON COLUMN lake_table.removed_files.content IS 'as in lake_table.files; NULL: a manifest';
COMMENT ON COLUMN lake_table.removed_files.sequence_number IS 'of the snapshot that added the file';
COMMENT ON COLUMN lake_table.removed_files.removed_sequence_number IS 'of the first snapshot without it; NULL until its transaction commits';
CREATE INDEX ON lake_table.removed_files (table_name, removed_sequence_number);
ALTER TABLE lake_table.removed_files SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);

CREATE TABLE lake_engine.deletion_queue (
    path text PRIMARY KEY,
    table_name regclass,
    orphaned_at timestamptz NOT NULL,
    retry_count integer NOT NULL DEFAULT 0,
    is_prefix boolean NOT NULL DEFAULT false,
    last_attempt_at timestamptz
);
COMMENT ON TABLE lake_engine.deletion_queue IS 'objects that no snapshot refers to; removed after pg_lake_engine.orphaned_file_retention_period';

-- Written around transactions (the rows of one that rolls back stay): no index, no constraint, no trigger.
CREATE TABLE lake_engine.in_progress_files (
    path text,
    operation_id bigint,
    is_prefix boolean
);
COMMENT ON TABLE lake_engine.in_progress_files IS 'locations in which a session has begun to write objects whose names hold its operation_id';

GRANT SELECT ON lake_table.files, lake_table.removed_files, lake_table.field_id_mappings, lake_table.data_file_column_stats,
    lake_table.deletion_file_map, lake_engine.deletion_queue, lake_engine.in_progress_files TO lake_read;

-- The Iceberg JDBC/SQL catalog: external engines find the tables here.

CREATE VIEW lake_iceberg.iceberg_tables AS
    SELECT current_database()::text AS catalog_name,
           n.nspname::text AS table_namespace,
           c.relname::text AS table_name,
           t.metadata_location,
           t.previous_metadata_location
    FROM lake_iceberg.tables_internal t
    JOIN pg_class c ON c.oid = t.table_name
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE t.metadata_location IS NOT NULL
    UNION ALL
    SELECT catalog_name, table_namespace, table_name, metadata_location, previous_metadata_location
    FROM lake_iceberg.tables_external;

CREATE VIEW lake_iceberg.iceberg_namespace_properties AS
    SELECT current_database()::text AS catalog_name,
           n.nspname::text AS namespace,
           'exists'::text AS property_key,
           'true'::text AS property_value
    FROM pg_namespace n
    WHERE EXISTS (SELECT FROM lake_iceberg.tables_internal t JOIN pg_class c ON c.oid = t.table_name
                  WHERE c.relnamespace = n.oid)
    UNION ALL
    SELECT catalog_name, namespace, property_key, property_value
    FROM lake_iceberg.namespace_properties;

-- External engines write rows of their own catalogs; the tables of this database are written by the extension alone.

CREATE FUNCTION lake_iceberg.external_catalog_modification() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF (TG_OP <> 'INSERT' AND OLD.catalog_name = current_database())
       OR (TG_OP <> 'DELETE' AND NEW.catalog_name = current_database()) THEN
        RAISE EXCEPTION 'writes to the % catalog are currently only supported via pg_lake_iceberg tables', current_database()
            USING ERRCODE = 'feature_not_supported';
    END IF;
    IF TG_OP = 'INSERT' THEN
        INSERT INTO lake_iceberg.tables_external SELECT NEW.*;
        RETURN NEW;
    ELSIF TG_OP = 'UPDATE' THEN
        -- The catalog's commit compares the metadata location that it started from: a row that has moved on is not found.
        UPDATE lake_iceberg.tables_external e
        SET (catalog_name, table_namespace, table_name, metadata_location, previous_metadata_location) =
            ROW (NEW.catalog_name, NEW.table_namespace, NEW.table_name, NEW.metadata_location, NEW.previous_metadata_location)
        WHERE (e.catalog_name, e.table_namespace, e.table_name) = (OLD.catalog_name, OLD.table_namespace, OLD.table_name)
          AND e.metadata_location IS NOT DISTINCT FROM OLD.metadata_location;
        IF NOT FOUND THEN
            RETURN NULL;
        END IF;
        RETURN NEW;
    ELSE
        DELETE FROM lake_iceberg.tables_external e
        WHERE (e.catalog_name, e.table_namespace, e.table_name) = (OLD.catalog_name, OLD.table_namespace, OLD.table_name);
        RETURN OLD;
    END IF;
END
$$;

CREATE TRIGGER external_catalog_modification
    INSTEAD OF INSERT OR UPDATE OR DELETE ON lake_iceberg.iceberg_tables
    FOR EACH ROW EXECUTE FUNCTION lake_iceberg.external_catalog_modification();

CREATE FUNCTION lake_iceberg.external_namespace_modification() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF (TG_OP <> 'INSERT' AND OLD.catalog_name = current_database())
       OR (TG_OP <> 'DELETE' AND NEW.catalog_name = current_database()) THEN
        RAISE EXCEPTION 'writes to the % catalog are currently only supported via pg_lake_iceberg tables', current_database()
            USING ERRCODE = 'feature_not_supported';
    END IF;
    IF TG_OP <> 'INSERT' THEN
        DELETE FROM lake_iceberg.namespace_properties p
        WHERE (p.catalog_name, p.namespace, p.property_key) = (OLD.catalog_name, OLD.namespace, OLD.property_key);
    END IF;
    IF TG_OP = 'DELETE' THEN
        RETURN OLD;
    END IF;
    INSERT INTO lake_iceberg.namespace_properties SELECT NEW.*;
    RETURN NEW;
END
$$;

CREATE TRIGGER external_namespace_modification
    INSTEAD OF INSERT OR UPDATE OR DELETE ON lake_iceberg.iceberg_namespace_properties
    FOR EACH ROW EXECUTE FUNCTION lake_iceberg.external_namespace_modification();

GRANT SELECT ON lake_iceberg.iceberg_tables, lake_iceberg.iceberg_namespace_properties TO PUBLIC;
GRANT ALL ON lake_iceberg.iceberg_tables, lake_iceberg.iceberg_namespace_properties TO iceberg_catalog;

-- Clients of the JDBC catalog name these views without a schema. PostgreSQL lets nobody create a relation in pg_catalog,
-- but move one there.
ALTER VIEW lake_iceberg.iceberg_tables SET SCHEMA pg_catalog;
ALTER VIEW lake_iceberg.iceberg_namespace_properties SET SCHEMA pg_catalog;

-- The foreign-data wrapper and its server, and the access methods that name it in CREATE TABLE … USING.

CREATE FUNCTION lake_iceberg.pg_lake_iceberg_handler() RETURNS fdw_handler
    LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'pg_lake_iceberg_handler';
CREATE FUNCTION lake_iceberg.pg_lake_iceberg_validator(text[], oid) RETURNS void
    LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'pg_lake_iceberg_validator';
CREATE FUNCTION lake_iceberg.pg_lake_iceberg_am_handler(internal) RETURNS table_am_handler
    LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'pg_lake_iceberg_am_handler';

CREATE FOREIGN DATA WRAPPER pg_lake_iceberg
    HANDLER lake_iceberg.pg_lake_iceberg_handler
    VALIDATOR lake_iceberg.pg_lake_iceberg_validator;
CREATE SERVER pg_lake_iceberg FOREIGN DATA WRAPPER pg_lake_iceberg;
GRANT USAGE ON FOREIGN SERVER pg_lake_iceberg TO lake_read_write;

CREATE ACCESS METHOD iceberg TYPE TABLE HANDLER lake_iceberg.pg_lake_iceberg_am_handler;
CREATE ACCESS METHOD pg_lake_iceberg TYPE TABLE HANDLER lake_iceberg.pg_lake_iceberg_am_handler;

-- The metadata of any Iceberg table, read through pgduck_server. They name URLs, so they are for lake_read.

CREATE FUNCTION lake_iceberg.metadata(metadata_uri text) RETURNS jsonb
    LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'metadata_wrapper';
CREATE FUNCTION lake_iceberg.files(metadata_uri text)
    RETURNS TABLE (manifest_path text, content text, file_path text, file_format text, spec_id bigint,
                   record_count bigint, file_size_in_bytes bigint)
    LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'files_wrapper';
CREATE FUNCTION lake_iceberg.snapshots(metadata_uri text)
    RETURNS TABLE (sequence_number bigint, snapshot_id bigint, timestamp_ms timestamp, manifest_list text)
    LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'snapshots_wrapper';
REVOKE ALL ON FUNCTION lake_iceberg.metadata(text), lake_iceberg.files(text), lake_iceberg.snapshots(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION lake_iceberg.metadata(text), lake_iceberg.files(text), lake_iceberg.snapshots(text) TO lake_read;

-- Objects that nothing refers to any more; they return what they have removed. VACUUM does both.

CREATE FUNCTION lake_engine.flush_deletion_queue(table_name regclass) RETURNS SETOF text
    LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'flush_deletion_queue_wrapper';
CREATE FUNCTION lake_engine.flush_in_progress_queue() RETURNS SETOF text
    LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'flush_in_progress_queue_wrapper';
COMMENT ON FUNCTION lake_engine.flush_deletion_queue(regclass) IS 'with 0: those of dropped tables';
REVOKE ALL ON FUNCTION lake_engine.flush_deletion_queue(regclass), lake_engine.flush_in_progress_queue() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION lake_engine.flush_deletion_queue(regclass), lake_engine.flush_in_progress_queue() TO lake_write;
