//! The settings (GUCs), under the names that pg_lake gave them.

use std::ffi::CString;

use lake_iceberg::{ExpireWhen, Policy, Retention};
use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting};
use pgrx::pg_sys;

static HOST: GucSetting<Option<CString>> =
    GucSetting::<Option<CString>>::new(Some(c"host=/tmp port=5332"));
static STREAMING_WRITES: GucSetting<bool> = GucSetting::<bool>::new(false);
static DEFAULT_LOCATION_PREFIX: GucSetting<Option<CString>> =
    GucSetting::<Option<CString>>::new(None);
static MAX_PARALLEL_FILE_UPLOADS: GucSetting<i32> = GucSetting::<i32>::new(12);
static TARGET_FILE_SIZE_MB: GucSetting<i32> = GucSetting::<i32>::new(512);
static MAX_WRITE_TEMP_FILE_SIZE_MB: GucSetting<i32> = GucSetting::<i32>::new(3072);
static COPY_ON_WRITE_THRESHOLD: GucSetting<i32> = GucSetting::<i32>::new(20);
static COPY_ON_WRITE_MAX_DELETE_ROWS: GucSetting<i32> = GucSetting::<i32>::new(10_000_000);
static MAX_SNAPSHOT_AGE: GucSetting<i32> = GucSetting::<i32>::new(1800);
static MAX_SNAPSHOTS: GucSetting<i32> = GucSetting::<i32>::new(100);
static ENABLE_MANIFEST_MERGE: GucSetting<bool> = GucSetting::<bool>::new(true);
static MANIFEST_MIN_COUNT_TO_MERGE: GucSetting<i32> = GucSetting::<i32>::new(100);
static TARGET_MANIFEST_SIZE_KB: GucSetting<i32> = GucSetting::<i32>::new(8192);
static ORPHANED_FILE_RETENTION_PERIOD: GucSetting<i32> = GucSetting::<i32>::new(10 * 86_400);
static AUTOVACUUM: GucSetting<bool> = GucSetting::<bool>::new(true);
static AUTOVACUUM_NAPTIME: GucSetting<i32> = GucSetting::<i32>::new(600);
static VACUUM_COMPACT_MIN_INPUT_FILES: GucSetting<i32> = GucSetting::<i32>::new(5);
static MAX_COMPACTIONS_PER_VACUUM: GucSetting<i32> = GucSetting::<i32>::new(100);
static ENABLE_DATA_FILE_PRUNING: GucSetting<bool> = GucSetting::<bool>::new(true);

/// Registers all settings; called once from `_PG_init`.
pub fn register() {
    GucRegistry::define_string_guc(
        c"pg_lake_engine.host",
        c"Connection string of pgduck_server.",
        c"A libpq connection string; may name several hosts, TCP or a Unix socket directory, TLS options and credentials.",
        &HOST,
        GucContext::Suset,
        GucFlags::SUPERUSER_ONLY,
    );
    GucRegistry::define_bool_guc(
        c"pg_lake_engine.streaming_writes",
        c"Sends what is written through the connection to pgduck_server instead of through shared files.",
        c"Needed when PostgreSQL and pgduck_server do not share a file system.",
        &STREAMING_WRITES,
        GucContext::Userset,
        GucFlags::default(),
    );
    GucRegistry::define_string_guc(
        c"pg_lake_iceberg.default_location_prefix",
        c"URL or absolute path under which tables without a location option are created.",
        c"A table is placed in <prefix>/<database>/<schema>/<table>/<oid>.",
        &DEFAULT_LOCATION_PREFIX,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"pg_lake_engine.max_parallel_file_uploads",
        c"Number of metadata files that a commit uploads side by side.",
        c"",
        &MAX_PARALLEL_FILE_UPLOADS,
        1,
        256,
        GucContext::Userset,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"pg_lake_table.target_file_size_mb",
        c"Approximate size of the data files that are written.",
        c"Rows are sent as CSV, which Parquet shrinks to about a third: a file is ended at three times this size of CSV.",
        &TARGET_FILE_SIZE_MB,
        1,
        i32::MAX,
        GucContext::Userset,
        GucFlags::UNIT_MB,
    );
    GucRegistry::define_int_guc(
        c"pg_lake_table.max_write_temp_file_size_mb",
        c"Largest amount of CSV that goes into one data file.",
        c"",
        &MAX_WRITE_TEMP_FILE_SIZE_MB,
        1,
        i32::MAX,
        GucContext::Userset,
        GucFlags::UNIT_MB,
    );
    GucRegistry::define_int_guc(
        c"pg_lake_table.copy_on_write_threshold",
        c"Percentage of a data file's rows that may be deleted before the file is written anew without them.",
        c"",
        &COPY_ON_WRITE_THRESHOLD,
        0,
        100,
        GucContext::Userset,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"pg_lake_table.copy_on_write_max_delete_rows",
        c"Number of position deletes in a table from which on changed data files are written anew.",
        c"-1 turns this off.",
        &COPY_ON_WRITE_MAX_DELETE_ROWS,
        -1,
        i32::MAX,
        GucContext::Userset,
        GucFlags::default(),
    );
    GucRegistry::define_bool_guc(
        c"pg_lake_table.enable_data_file_pruning",
        c"Skips data files that by the bounds of their columns hold no row that a query asks for.",
        c"",
        &ENABLE_DATA_FILE_PRUNING,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"pg_lake_iceberg.max_snapshot_age",
        c"Age from which on snapshots are removed from a table's metadata.",
        c"0 keeps only the newest snapshot.",
        &MAX_SNAPSHOT_AGE,
        0,
        i32::MAX,
        GucContext::Suset,
        GucFlags::UNIT_S,
    );
    GucRegistry::define_int_guc(
        c"pg_lake_iceberg.max_snapshots",
        c"Number of snapshots from which on the oldest are removed from a table's metadata, whatever their age.",
        c"Each commit writes the list of all snapshots anew.",
        &MAX_SNAPSHOTS,
        1,
        i32::MAX,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_bool_guc(
        c"pg_lake_iceberg.enable_manifest_merge_on_write",
        c"Merges manifests when a commit finds many.",
        c"",
        &ENABLE_MANIFEST_MERGE,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"pg_lake_iceberg.manifest_min_count_to_merge",
        c"Number of small manifests from which on they are merged.",
        c"",
        &MANIFEST_MIN_COUNT_TO_MERGE,
        2,
        i32::MAX,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"pg_lake_iceberg.target_manifest_size_kb",
        c"Size from which on manifests are not merged any more.",
        c"",
        &TARGET_MANIFEST_SIZE_KB,
        1,
        i32::MAX,
        GucContext::Suset,
        GucFlags::UNIT_KB,
    );
    GucRegistry::define_int_guc(
        c"pg_lake_engine.orphaned_file_retention_period",
        c"How long an object stays after the last snapshot that referred to it is gone.",
        c"Readers that began before have so much time to finish.",
        &ORPHANED_FILE_RETENTION_PERIOD,
        0,
        i32::MAX,
        GucContext::Suset,
        GucFlags::UNIT_S,
    );
    GucRegistry::define_bool_guc(
        c"pg_lake_iceberg.autovacuum",
        c"Vacuums Iceberg tables in the background.",
        c"",
        &AUTOVACUUM,
        GucContext::Sighup,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"pg_lake_iceberg.autovacuum_naptime",
        c"Time between two rounds of the background vacuum.",
        c"",
        &AUTOVACUUM_NAPTIME,
        1,
        i32::MAX / 1000,
        GucContext::Sighup,
        GucFlags::UNIT_S,
    );
    GucRegistry::define_int_guc(
        c"pg_lake_table.vacuum_compact_min_input_files",
        c"Number of small data files from which on VACUUM makes one of them.",
        c"",
        &VACUUM_COMPACT_MIN_INPUT_FILES,
        1,
        i32::MAX,
        GucContext::Userset,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"pg_lake_table.max_compactions_per_vacuum",
        c"Largest number of files that one VACUUM of a table writes.",
        c"",
        &MAX_COMPACTIONS_PER_VACUUM,
        0,
        i32::MAX,
        GucContext::Suset,
        GucFlags::default(),
    );
    for prefix in [c"pg_lake_engine", c"pg_lake_iceberg", c"pg_lake_table"] {
        // SAFETY: a C string that lives for ever; called while the library is loaded, as guc.c expects.
        unsafe { pg_sys::MarkGUCPrefixReserved(prefix.as_ptr()) };
    }
}

/// `pg_lake_engine.host`.
pub fn host() -> String {
    text(&HOST).unwrap_or_default()
}

/// `pg_lake_engine.streaming_writes`.
pub fn streaming_writes() -> bool {
    STREAMING_WRITES.get()
}

/// `pg_lake_iceberg.default_location_prefix`, if set.
pub fn default_location_prefix() -> Option<String> {
    text(&DEFAULT_LOCATION_PREFIX).filter(|prefix| !prefix.is_empty())
}

/// `pg_lake_engine.max_parallel_file_uploads`.
pub fn max_parallel_file_uploads() -> usize {
    usize::try_from(MAX_PARALLEL_FILE_UPLOADS.get()).unwrap_or(1)
}

/// Bytes of CSV after which a data file is ended and the next one begun.
pub fn rotation_bytes() -> u64 {
    /// How much smaller Parquet is than the CSV it was made from, roughly.
    const CSV_PER_PARQUET: u64 = 3;
    let target = TARGET_FILE_SIZE_MB.get().unsigned_abs() as u64 * CSV_PER_PARQUET;
    let limit = MAX_WRITE_TEMP_FILE_SIZE_MB.get().unsigned_abs() as u64;
    target.min(limit) << 20
}

/// Size that data files are to have, in bytes.
pub fn target_file_bytes() -> u64 {
    (TARGET_FILE_SIZE_MB.get().unsigned_abs() as u64) << 20
}

/// Whether a data file that has lost `gone` of its `rows` rows is written anew, in a table that has `deleted` position
/// deletes.
pub fn is_copied_on_write(gone: u64, rows: u64, deleted: u64) -> bool {
    let threshold = COPY_ON_WRITE_THRESHOLD.get().unsigned_abs() as u64;
    let max_deleted = COPY_ON_WRITE_MAX_DELETE_ROWS.get();
    gone.saturating_mul(100) >= rows.saturating_mul(threshold)
        || u64::try_from(max_deleted).is_ok_and(|max_deleted| deleted >= max_deleted)
}

/// How a table's metadata is kept small.
pub fn metadata_policy(max_snapshot_age_s: Option<i64>, when: ExpireWhen) -> Policy {
    Policy {
        manifest_min_count_to_merge: match ENABLE_MANIFEST_MERGE.get() {
            true => MANIFEST_MIN_COUNT_TO_MERGE.get().unsigned_abs() as usize,
            false => 0,
        },
        target_manifest_bytes: (TARGET_MANIFEST_SIZE_KB.get().unsigned_abs() as u64) << 10,
        retention: Retention {
            max_snapshot_age_ms: 1000
                * max_snapshot_age_s.unwrap_or(i64::from(MAX_SNAPSHOT_AGE.get())),
            max_snapshots: MAX_SNAPSHOTS.get().unsigned_abs() as usize,
            when,
        },
    }
}

/// `pg_lake_engine.orphaned_file_retention_period`, in seconds.
pub fn orphaned_file_retention_s() -> i64 {
    ORPHANED_FILE_RETENTION_PERIOD.get().into()
}

/// `pg_lake_iceberg.autovacuum`.
pub fn autovacuum() -> bool {
    AUTOVACUUM.get()
}

/// `pg_lake_iceberg.autovacuum_naptime`, in seconds.
pub fn autovacuum_naptime_s() -> u64 {
    AUTOVACUUM_NAPTIME.get().unsigned_abs().into()
}

/// `pg_lake_table.vacuum_compact_min_input_files`.
pub fn vacuum_compact_min_input_files() -> usize {
    VACUUM_COMPACT_MIN_INPUT_FILES.get().unsigned_abs() as usize
}

/// `pg_lake_table.max_compactions_per_vacuum`.
pub fn max_compactions_per_vacuum() -> usize {
    MAX_COMPACTIONS_PER_VACUUM.get().unsigned_abs() as usize
}

/// `pg_lake_table.enable_data_file_pruning`.
pub fn enable_data_file_pruning() -> bool {
    ENABLE_DATA_FILE_PRUNING.get()
}

fn text(setting: &GucSetting<Option<CString>>) -> Option<String> {
    setting
        .get()
        .map(|value| value.to_string_lossy().into_owned())
}
