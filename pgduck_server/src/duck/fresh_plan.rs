//! Running a statement with the plan that preparing it has made; see fresh_plan.cpp.

use std::ffi::c_void;

use libduckdb_sys as ffi;

// Implemented in fresh_plan.cpp.
unsafe extern "C" {
    fn pgduck_set_rebind(
        prepared_statement: *mut c_void,
        rebind: bool,
        parameters: usize,
        columns: usize,
    ) -> bool;
}

/// While this lives, the statement runs with the plan that it has.
#[derive(Debug)]
pub(super) struct FreshPlan(ffi::duckdb_prepared_statement);

impl FreshPlan {
    /// Keeps DuckDB from planning the statement again. `None` if it would not do that anyway, or has to, because the plan
    /// depends on parameters.
    ///
    /// # Safety
    /// The statement was prepared successfully, lives longer than what is returned, and is not used by another thread.
    pub(super) unsafe fn keep(statement: ffi::duckdb_prepared_statement) -> Option<FreshPlan> {
        // SAFETY: the statement is alive by this function's contract.
        unsafe {
            let parameters = ffi::duckdb_nparams(statement) as usize;
            (parameters == 0 && set_rebind(statement, false)).then_some(FreshPlan(statement))
        }
    }
}

impl Drop for FreshPlan {
    fn drop(&mut self) {
        // SAFETY: the statement is alive by the contract of `keep`.
        unsafe { set_rebind(self.0, true) };
    }
}

/// Sets the flag of a statement without parameters.
///
/// # Safety
/// As for [`FreshPlan::keep`].
unsafe fn set_rebind(statement: ffi::duckdb_prepared_statement, rebind: bool) -> bool {
    // SAFETY: the statement is alive by this function's contract.
    unsafe {
        let columns = ffi::duckdb_prepared_statement_column_count(statement) as usize;
        pgduck_set_rebind(statement.cast(), rebind, 0, columns)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::{Connection, Database};

    fn rows(connection: &Connection, sql: &str) -> Vec<i64> {
        let prepared = connection.parse(sql).unwrap().prepare(0).unwrap();
        drain(prepared.start_fresh().unwrap().execute().unwrap())
    }

    fn drain(mut result: super::super::QueryResult) -> Vec<i64> {
        let mut all = Vec::new();
        while let Some(chunk) = result.next_chunk().unwrap() {
            all.extend((0..chunk.rows()).map(|row| chunk.column(0).value::<i64>(row)));
        }
        all
    }

    #[test]
    fn the_first_run_takes_the_plan_and_later_ones_look_again() {
        let connection = Database::open(":memory:", &[]).unwrap().connect().unwrap();
        let directory = std::env::temp_dir().join(format!("fresh_plan_{}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("1.csv"), "1\n").unwrap();
        let sql = format!(
            "SELECT c0 FROM read_csv('{}/*.csv', auto_detect=false, columns={{'c0': 'BIGINT'}}) ORDER BY 1",
            directory.display()
        );
        let prepared = connection.parse(&sql).unwrap().prepare(0).unwrap();
        fs::write(directory.join("2.csv"), "2\n").unwrap();
        // That the second file is not seen is what proves that nothing was bound again.
        let first = prepared.start_fresh().unwrap().execute().unwrap();
        assert_eq!(drain(first), [1]);
        for _ in 0..2 {
            assert_eq!(drain(prepared.start().unwrap().execute().unwrap()), [1, 2]);
        }
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_changed_catalog_is_noticed() {
        let connection = Database::open(":memory:", &[]).unwrap().connect().unwrap();
        connection
            .run("CREATE TABLE t AS SELECT 1::BIGINT AS a")
            .unwrap();
        let prepared = connection.parse("SELECT * FROM t, range(1)").unwrap();
        let prepared = prepared.prepare(0).unwrap();
        connection
            .run("DROP TABLE t; CREATE TABLE t AS SELECT 2::BIGINT AS a")
            .unwrap();
        assert_eq!(
            drain(prepared.start_fresh().unwrap().execute().unwrap()),
            [2]
        );
    }

    #[test]
    fn statements_of_every_kind_run() {
        let connection = Database::open(":memory:", &[]).unwrap().connect().unwrap();
        for sql in [
            "SELECT 1::BIGINT WHERE now() IS NOT NULL",
            "CREATE TABLE t (a BIGINT)",
            "INSERT INTO t SELECT range FROM range(3)",
            "EXPLAIN SELECT * FROM glob('/*')",
            "PRAGMA database_list",
            "SET threads = 2",
            "CALL pragma_version()",
            "BEGIN",
            "COMMIT",
            "DROP TABLE t",
        ] {
            let prepared = connection.parse(sql).unwrap().prepare(0).unwrap();
            let mut result = prepared.start_fresh().unwrap().execute().unwrap();
            while result.next_chunk().unwrap().is_some() {}
        }
        assert_eq!(rows(&connection, "SELECT count(*) FROM glob('/')").len(), 1);
    }
}
