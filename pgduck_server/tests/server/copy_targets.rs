//! Plain COPY to local files and directories.

use std::os::unix::fs::PermissionsExt;

use crate::harness::TestServer;

#[test]
fn directories_are_made_for_their_owner_only() {
    let server = TestServer::start();
    let mut client = server.connect();
    let target = server.path("a/b/c.parquet");
    let outcome = client
        .query(&format!("COPY (SELECT 1 AS x) TO 'file://{target}'"))
        .ok();
    assert_eq!(outcome.tags, ["COPY 1"]);
    assert_eq!(client.value(&format!("SELECT x FROM '{target}'")), "1");
    let mode = |path: &str| {
        std::fs::metadata(server.path(path))
            .unwrap()
            .permissions()
            .mode()
    };
    assert_eq!(mode("a/b") & 0o777, 0o700);
    assert_eq!(mode("a/b/c.parquet") & 0o077, 0);
}

#[test]
fn a_copy_that_fails_leaves_no_file() {
    let server = TestServer::start();
    let mut client = server.connect();
    let target = server.path("a/x.parquet");
    let failing = "SELECT CASE WHEN i = 3000000 THEN error('stop') ELSE i::VARCHAR END FROM range(4000000) t(i)";
    let outcome = client.query(&format!("COPY ({failing}) TO '{target}' (FORMAT parquet)"));
    assert_eq!(outcome.error().message, "stop");
    assert_eq!(server.files(), Vec::<String>::new());
    let outcome = client.query(&format!("COPY ({failing}) TO '{target}' (FORMAT csv)"));
    assert_eq!(outcome.errors.len(), 1);
    assert_eq!(server.files(), Vec::<String>::new());
    std::fs::write(&target, "old").unwrap();
    client
        .query(&format!("COPY ({failing}) TO '{target}' (FORMAT parquet)"))
        .error();
    assert_eq!(server.files(), ["a/x.parquet"]);
}

#[test]
fn a_partitioned_copy_that_fails_leaves_no_file() {
    let server = TestServer::start();
    let mut client = server.connect();
    let target = server.path("parts");
    let sql = |limit: u32| {
        format!(
            "COPY (SELECT i % 3 AS p, CASE WHEN i = {limit} THEN error('stop') ELSE 1 END AS v \
             FROM range(500000) t(i)) TO '{target}' (FORMAT parquet, PARTITION_BY (p), RETURN_STATS)"
        )
    };
    client.query(&sql(400_000)).error();
    assert_eq!(server.files(), Vec::<String>::new());
    let outcome = client.query(&sql(600_000)).ok();
    assert_eq!(outcome.tags, ["COPY 500000"]);
    assert_eq!(server.files().len(), outcome.rows.len());
}

#[test]
fn the_servers_own_output_is_out_of_reach() {
    let server = TestServer::start();
    let mut client = server.connect();
    for target in ["'/dev/stdout'", "STDOUT"] {
        let outcome = client.query(&format!("COPY (SELECT 1) TO {target} (FORMAT csv)"));
        assert_eq!(outcome.error().code, "0A000");
    }
}
