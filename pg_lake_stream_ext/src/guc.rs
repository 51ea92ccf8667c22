//! The settings (GUCs), under the names that pg_lake gave them.

use std::ffi::CString;

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
        c"Number of connections over which a commit uploads its metadata files.",
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

fn text(setting: &GucSetting<Option<CString>>) -> Option<String> {
    setting
        .get()
        .map(|value| value.to_string_lossy().into_owned())
}
